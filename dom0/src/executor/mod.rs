//! One cooperative executor: everything dom0 does is a task here.
//!
//! It owns the tasks, the timers and the table that turns an event channel's
//! pending bit into a wake-up. The rule it keeps: when no task can run, it
//! stops the virtual CPU until an event channel fires or the earliest timer is
//! due. Nothing polls, so a thousand idle domains cost nothing.
//!
//! Data passes through in one direction: [`Platform`] reports events and the
//! time, events and timers wake tasks, woken tasks run once each, and then the
//! circle starts anew. All of it is single-threaded; tasks may hold `Rc`s.

mod port;
mod task;
mod time;

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::RefCell,
    fmt,
    future::Future,
    task::{Context, Poll},
    time::Duration,
};

pub use port::EventPort;
pub use task::JoinHandle;
pub use time::{Elapsed, Instant, Sleep};

use guest_abi::Port;

/// What the executor needs from the machine below it.
pub trait Platform {
    /// The time since the host started.
    fn now(&self) -> Instant;

    /// Takes every pending, unmasked event channel and hands it to `found`.
    fn take_events(&self, found: &mut dyn FnMut(Port));

    /// Stops until an event is pending or `deadline` has come.
    ///
    /// It may return early; it must not sleep through an event that arrived
    /// after the last [`take_events`](Self::take_events).
    fn wait(&self, deadline: Option<Instant>);
}

/// A handle on the executor: cheap to clone, given to whoever spawns or sleeps.
#[derive(Clone)]
pub struct Runtime {
    inner: Rc<Inner>,
}

struct Inner {
    platform: Box<dyn Platform>,
    tasks: RefCell<task::Tasks>,
    timers: RefCell<time::Timers>,
    ports: RefCell<port::Ports>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("tasks", &self.inner.tasks.borrow().len())
            .finish()
    }
}

impl Runtime {
    /// An executor without tasks, on `platform`.
    #[must_use]
    pub fn new(platform: impl Platform + 'static) -> Self {
        Self {
            inner: Rc::new(Inner {
                platform: Box::new(platform),
                tasks: RefCell::default(),
                timers: RefCell::default(),
                ports: RefCell::default(),
            }),
        }
    }

    /// Starts `future` as a task of its own.
    ///
    /// The task goes on when the handle is dropped; [`JoinHandle::abort`] ends it.
    pub fn spawn<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        JoinHandle::start(self, future)
    }

    /// The time since the host started.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.inner.platform.now()
    }

    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::until(self, self.now() + duration)
    }

    /// Waits until `deadline`; at once, if it has passed.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep::until(self, deadline)
    }

    /// Runs `future`, giving up after `duration`.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the time was over first; `future` is then dropped.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let future = core::pin::pin!(future);
        let sleep = self.sleep(duration);
        match futures_util::future::select(future, sleep).await {
            futures_util::future::Either::Left((value, _)) => Ok(value),
            futures_util::future::Either::Right(_) => Err(Elapsed),
        }
    }

    /// Lets every other task that is ready run before the caller goes on.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        core::future::poll_fn(|cx| {
            if core::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Starts to listen to `port`, whose events wake the returned object.
    #[must_use]
    pub fn listen(&self, port: Port) -> EventPort {
        EventPort::new(self, port)
    }

    /// Runs `future` and all tasks beside it until `future` is done.
    pub fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let main = self.spawn(future);
        loop {
            self.turn();
            if let Some(value) = main.take() {
                return value;
            }
            if self.inner.tasks.borrow().ready() == 0 {
                let deadline = self.inner.timers.borrow().next_deadline();
                self.inner.platform.wait(deadline);
            }
        }
    }

    /// Delivers events and timers, then runs each ready task once.
    fn turn(&self) {
        self.inner.platform.take_events(&mut |port| {
            let waker = self.inner.ports.borrow_mut().fired(port);
            if let Some(waker) = waker {
                waker.wake();
            }
        });

        if self.inner.timers.borrow().next_deadline().is_some() {
            let due = self.inner.timers.borrow_mut().take_due(self.now());
            due.into_iter().for_each(core::task::Waker::wake);
        }

        // Tasks woken while these run wait for the next turn, so that events
        // and timers are looked at in between.
        let ready = self.inner.tasks.borrow().ready();
        for _ in 0..ready {
            let next = self.inner.tasks.borrow().next_ready();
            if let Some(id) = next {
                self.run(id);
            }
        }
    }

    /// Polls one task. It is out of the table meanwhile, so that it may spawn.
    fn run(&self, id: task::TaskId) {
        let Some((mut future, waker)) = self.inner.tasks.borrow_mut().check_out(id) else {
            return;
        };
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let aborted = self.inner.tasks.borrow_mut().check_in(id, future);
                // Dropped here, with no borrow held: a task's destructor may spawn.
                drop(aborted);
            }
            Poll::Ready(()) => self.inner.tasks.borrow_mut().finish(id),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use core::cell::Cell;

    /// A machine whose clock jumps to each deadline and whose events are scripted.
    #[derive(Default, Clone)]
    pub(crate) struct FakePlatform {
        pub(crate) clock: Rc<Cell<u64>>,
        pub(crate) events: Rc<RefCell<VecDeque<Port>>>,
    }

    impl Platform for FakePlatform {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.clock.get())
        }
        fn take_events(&self, found: &mut dyn FnMut(Port)) {
            let events: Vec<_> = self.events.borrow_mut().drain(..).collect();
            events.into_iter().for_each(found);
        }
        fn wait(&self, deadline: Option<Instant>) {
            if !self.events.borrow().is_empty() {
                return;
            }
            let deadline = deadline.expect("every task waits and nothing can wake one");
            self.clock.set(deadline.as_nanos().max(self.clock.get()));
        }
    }

    fn runtime() -> (Runtime, FakePlatform) {
        let platform = FakePlatform::default();
        (Runtime::new(platform.clone()), platform)
    }

    #[test]
    fn sleeps_end_in_the_order_of_their_deadlines() {
        let (runtime, platform) = runtime();
        let log = Rc::new(RefCell::new(Vec::new()));
        for ms in [30, 10, 20] {
            let (log, handle) = (log.clone(), runtime.clone());
            runtime.spawn(async move {
                handle.sleep(Duration::from_millis(ms)).await;
                log.borrow_mut().push(ms);
            });
        }
        let handle = runtime.clone();
        runtime.block_on(async move { handle.sleep(Duration::from_millis(40)).await });
        assert_eq!(*log.borrow(), [10, 20, 30]);
        assert_eq!(platform.clock.get(), 40_000_000);
    }

    #[test]
    fn an_event_that_fires_before_anybody_waits_is_not_lost() {
        let (runtime, platform) = runtime();
        let port = runtime.listen(Port::new(5));
        platform.events.borrow_mut().push_back(Port::new(5));
        let handle = runtime.clone();
        runtime.block_on(async move {
            handle.sleep(Duration::from_millis(1)).await;
            port.wait().await;
        });
    }

    #[test]
    fn an_aborted_task_is_dropped_and_its_join_says_so() {
        let (runtime, _) = runtime();
        let witness = Rc::new(());
        let held = witness.clone();
        let task = runtime.spawn(async move {
            let _held = held;
            core::future::pending::<()>().await;
        });
        let handle = runtime.clone();
        runtime.block_on(async move {
            handle.yield_now().await;
            task.abort();
            assert!(task.join().await.is_none());
        });
        assert_eq!(Rc::strong_count(&witness), 1);
    }

    #[test]
    fn a_timeout_drops_what_took_too_long() {
        let (runtime, _) = runtime();
        let handle = runtime.clone();
        let outcome = runtime.block_on(async move {
            handle
                .timeout(Duration::from_secs(1), core::future::pending::<()>())
                .await
        });
        assert_eq!(outcome, Err(Elapsed));
    }
}
