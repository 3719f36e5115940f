//! The states a device goes through, with a backend that only writes down what it was asked.

use super::life::LINGER;
use super::{Backend, Control, Device, End, Refusal, Wish, run};
use crate::host::Host;
use crate::host::fake::FakeHost;
use crate::testing::Task;
use crate::xenstore::Error;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::pin::pin;
use core::task::Poll;
use guest_abi::DomId;
use guest_abi::io::xenbus::XenbusState;
use proptest::prelude::{Just, Strategy, prop_oneof, proptest};
use std::rc::Rc;

const DOMAIN: DomId = DomId::new(7);
const FRONT: &str = "/local/domain/7/device/vbd/1";
const BACK: &str = "/local/domain/0/backend/vbd/7/1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Offer,
    Connect,
    Serve,
    Disconnect,
}

#[derive(Debug, Default)]
struct Recorder {
    calls: Rc<RefCell<Vec<Call>>>,
    refuse_to_connect: Cell<bool>,
    refuse_to_serve: Cell<bool>,
}

/// Says when it is dropped.
struct Connection(Rc<RefCell<Vec<Call>>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.borrow_mut().push(Call::Disconnect);
    }
}

impl Backend for Rc<Recorder> {
    type Connection = Connection;

    fn offer(&self, _: &Device) -> Result<(), Error> {
        self.calls.borrow_mut().push(Call::Offer);
        Ok(())
    }

    fn connect(&self, _: &Device) -> Result<Connection, Refusal> {
        if self.refuse_to_connect.get() {
            return Err(Refusal::new("no ring"));
        }
        self.calls.borrow_mut().push(Call::Connect);
        Ok(Connection(self.calls.clone()))
    }

    async fn serve(
        &self,
        _: &mut Connection,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Refusal> {
        self.calls.borrow_mut().push(Call::Serve);
        let mut stop = pin!(stop);
        core::future::poll_fn(|context| {
            if self.refuse_to_serve.get() {
                return Poll::Ready(Err(Refusal::new("a broken ring")));
            }
            stop.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

struct Bench {
    host: Rc<FakeHost>,
    recorder: Rc<Recorder>,
    control: Control,
    task: Task<Result<End, Error>>,
}

impl Bench {
    fn new() -> Self {
        let host = FakeHost::new();
        let mut bench = Self {
            recorder: Rc::default(),
            control: Control::default(),
            task: Task::new(async { Ok(End::Closed) }),
            host,
        };
        bench.put(BACK, XenbusState::Initialising);
        bench.put(FRONT, XenbusState::Initialising);
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.control = Control::default();
        let (host, recorder) = (self.host.clone(), self.recorder.clone());
        let control = self.control.clone();
        self.task = Task::new(async move {
            let device = Device::open(host, "vbd", DOMAIN, 1)?;
            run(&device, &recorder, &control).await
        });
        assert_eq!(self.task.run(), None);
    }

    fn put(&self, folder: &str, state: XenbusState) {
        let mut store = self.host.store().borrow_mut();
        store
            .put(&format!("{folder}/state"), state.digit())
            .unwrap();
    }

    fn back(&self) -> XenbusState {
        let mut store = self.host.store().borrow_mut();
        XenbusState::parse(store.get(&format!("{BACK}/state")).unwrap().as_bytes())
    }

    fn error(&self) -> Option<String> {
        self.host.store().borrow_mut().get(&format!("{BACK}/error"))
    }

    /// The frontend goes to a state; where does that take us?
    fn front(&mut self, state: XenbusState) -> XenbusState {
        self.put(FRONT, state);
        assert_eq!(self.settle(), None);
        self.back()
    }

    /// Lets the task do what it has to, now and when a closed frontend has been waited for.
    fn settle(&mut self) -> Option<Result<End, Error>> {
        let early = self.task.run();
        if early.is_some() {
            return early;
        }
        self.host.advance(LINGER);
        self.task.run()
    }

    fn wish(&mut self, wish: Wish) -> Option<Result<End, Error>> {
        self.control.wish(wish);
        self.task.run()
    }

    fn calls(&self) -> Vec<Call> {
        core::mem::take(&mut *self.recorder.calls.borrow_mut())
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        assert_eq!(
            bench.front(XenbusState::Initialised),
            XenbusState::Connected
        );
        assert_eq!(bench.front(XenbusState::Connected), XenbusState::Connected);
        assert_eq!(bench.calls(), [Call::Offer, Call::Connect, Call::Serve]);
        bench
    }
}

#[test]
fn a_disk_connects_as_linux_does_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.back(), XenbusState::InitWait);
    assert_eq!(bench.calls(), [Call::Offer]);
    assert_eq!(
        bench.front(XenbusState::Initialised),
        XenbusState::Connected
    );
    assert_eq!(bench.front(XenbusState::Connected), XenbusState::Connected);
    assert_eq!(bench.calls(), [Call::Connect, Call::Serve]);
}

#[test]
fn a_network_card_connects_without_being_initialised_first() {
    let mut bench = Bench::new();
    assert_eq!(bench.front(XenbusState::Connected), XenbusState::Connected);
    assert_eq!(bench.calls(), [Call::Offer, Call::Connect, Call::Serve]);
}

#[test]
fn a_driver_may_be_unloaded_and_loaded_again() {
    let mut bench = Bench::connected();
    assert_eq!(bench.front(XenbusState::Closing), XenbusState::Closing);
    assert_eq!(bench.calls(), [Call::Disconnect]);
    assert_eq!(bench.front(XenbusState::Closed), XenbusState::Closed);
    assert_eq!(
        bench.front(XenbusState::Initialising),
        XenbusState::InitWait
    );
    assert_eq!(
        bench.front(XenbusState::Initialised),
        XenbusState::Connected
    );
    assert_eq!(bench.calls(), [Call::Offer, Call::Connect, Call::Serve]);
}

#[test]
fn a_kernel_that_restarts_without_a_word_starts_anew() {
    let mut bench = Bench::connected();
    assert_eq!(
        bench.front(XenbusState::Initialising),
        XenbusState::InitWait
    );
    assert_eq!(bench.calls(), [Call::Disconnect, Call::Offer]);
    assert_eq!(
        bench.front(XenbusState::Initialised),
        XenbusState::Connected
    );
}

#[test]
fn a_frontend_refused_stays_so_until_it_starts_anew() {
    let mut bench = Bench::new();
    bench.recorder.refuse_to_connect.set(true);
    assert_eq!(bench.front(XenbusState::Initialised), XenbusState::Closing);
    assert_eq!(bench.error().as_deref(), Some("no ring"));
    bench.recorder.refuse_to_connect.set(false);
    for state in [
        XenbusState::Connected,
        XenbusState::Initialised,
        XenbusState::InitWait,
        XenbusState::Reconfiguring,
        XenbusState::Connected,
    ] {
        assert_eq!(bench.front(state), XenbusState::Closing);
    }
    assert_eq!(bench.front(XenbusState::Closed), XenbusState::Closed);
    assert_eq!(bench.front(XenbusState::Connected), XenbusState::Closed);
    assert_eq!(bench.calls(), [Call::Offer]);
    assert_eq!(
        bench.front(XenbusState::Initialising),
        XenbusState::InitWait
    );
    assert_eq!(
        bench.front(XenbusState::Initialised),
        XenbusState::Connected
    );
    assert_eq!(bench.error().as_deref(), Some(""));
}

#[test]
fn a_frontend_refused_is_not_taken_up_by_the_next_instance() {
    let mut bench = Bench::connected();
    bench.recorder.refuse_to_serve.set(true);
    // Any event makes the connection look.
    bench.front(XenbusState::Connected);
    assert_eq!(bench.back(), XenbusState::Closing);
    bench.recorder.refuse_to_serve.set(false);
    bench.calls();
    assert_eq!(bench.wish(Wish::HandOver), Some(Ok(End::HandedOver)));
    bench.start();
    assert_eq!(bench.back(), XenbusState::Closing);
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.front(XenbusState::Closed), XenbusState::Closed);
}

#[test]
fn another_instance_goes_on_without_a_word_to_the_frontend() {
    let mut bench = Bench::connected();
    assert_eq!(bench.wish(Wish::HandOver), Some(Ok(End::HandedOver)));
    assert_eq!(bench.calls(), [Call::Disconnect]);
    assert_eq!(bench.back(), XenbusState::Connected);
    bench.start();
    assert_eq!(bench.back(), XenbusState::Connected);
    assert_eq!(bench.calls(), [Call::Connect, Call::Serve]);
}

#[test]
fn a_frontend_that_restarted_between_two_instances_is_offered_again() {
    let mut bench = Bench::connected();
    assert_eq!(bench.wish(Wish::HandOver), Some(Ok(End::HandedOver)));
    bench.calls();
    bench.put(FRONT, XenbusState::Initialising);
    bench.start();
    assert_eq!(bench.back(), XenbusState::InitWait);
    assert_eq!(bench.calls(), [Call::Offer]);
}

#[test]
fn detaching_waits_for_a_connected_frontend_to_close() {
    let mut bench = Bench::connected();
    assert_eq!(bench.wish(Wish::Detach), None);
    assert_eq!(bench.back(), XenbusState::Closing);
    assert_eq!(bench.calls(), [], "it is served on");
    assert_eq!(bench.front(XenbusState::Closing), XenbusState::Closing);
    assert_eq!(bench.calls(), [Call::Disconnect]);
    bench.put(FRONT, XenbusState::Closed);
    assert_eq!(bench.task.run(), Some(Ok(End::Closed)));
    assert_eq!(bench.back(), XenbusState::Closed);
}

#[test]
fn a_frontend_that_closes_at_once_is_served_a_little_longer() {
    let mut bench = Bench::connected();
    assert_eq!(bench.wish(Wish::Detach), None);
    bench.put(FRONT, XenbusState::Closed);
    assert_eq!(bench.task.run(), None);
    assert_eq!(bench.calls(), []);
    assert_eq!(bench.settle(), Some(Ok(End::Closed)));
    assert_eq!(bench.calls(), [Call::Disconnect]);
}

#[test]
fn detaching_waits_for_nobody_where_no_driver_is() {
    let mut bench = Bench::new();
    assert_eq!(bench.wish(Wish::Detach), Some(Ok(End::Closed)));
    assert_eq!(bench.back(), XenbusState::Closed);
}

#[test]
fn a_frontend_whose_nodes_are_gone_is_let_go() {
    let mut bench = Bench::connected();
    let gone = |bench: &Bench| {
        let mut store = bench.host.store().borrow_mut();
        store.as_dom0(|local| local.remove(FRONT)).unwrap();
    };
    gone(&bench);
    assert_eq!(bench.task.run(), None);
    assert_eq!(bench.calls(), [Call::Disconnect]);
    assert_eq!(bench.wish(Wish::Detach), Some(Ok(End::Closed)));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Front(XenbusState),
    Connectable(bool),
    Breaks(bool),
    HandOver,
}

fn step() -> impl Strategy<Value = Step> {
    let states = proptest::sample::select(XenbusState::ALL);
    prop_oneof![
        8 => states.prop_map(Step::Front),
        1 => proptest::bool::ANY.prop_map(Step::Connectable),
        1 => proptest::bool::ANY.prop_map(Step::Breaks),
        1 => Just(Step::HandOver),
    ]
}

proptest! {
    /// Whatever the frontend writes: it is connected only after an offer or a hand-over, one
    /// connection at a time, and each one is taken down.
    #[test]
    fn no_order_of_states_confuses_the_backend(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut bench = Bench::new();
        let mut offered = false;
        let mut open = 0;
        for step in steps {
            let mut handed_over = false;
            match step {
                Step::Front(state) => bench.put(FRONT, state),
                Step::Connectable(can) => bench.recorder.refuse_to_connect.set(!can),
                Step::Breaks(does) => bench.recorder.refuse_to_serve.set(does),
                Step::HandOver => {
                    handed_over = bench.back() == XenbusState::Connected;
                    assert_eq!(bench.wish(Wish::HandOver), Some(Ok(End::HandedOver)));
                    bench.start();
                }
            }
            assert_eq!(bench.settle(), None);
            for call in bench.calls() {
                match call {
                    Call::Offer => offered = true,
                    Call::Connect => {
                        assert!(core::mem::take(&mut offered) || handed_over);
                        open += 1;
                    }
                    Call::Serve => assert_eq!(open, 1),
                    Call::Disconnect => open -= 1,
                }
                assert!((0..=1).contains(&open));
            }
            assert_eq!(open == 1, bench.back() == XenbusState::Connected);
        }
    }
}
