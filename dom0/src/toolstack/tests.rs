//! Whole lives of domains on a hypervisor in memory: whatever happens, the books balance.

use std::future::Future;
use std::rc::Rc;

use backends::host::fake::{FakeDisk, FakeHost};
use guest_abi::io::console::ConsoleRing;
use guest_abi::io::xs_wire::{MessageHeader, MessageType, XenstoreRing};
use guest_abi::sched::ShutdownReason;
use guest_abi::zerocopy::IntoBytes;
use guest_abi::{DomId, Mfn, Port};

use super::{CreateError, Guest, Images, Phase, Toolstack};
use crate::builder::tests::good_elf;
use crate::config::{DomainConfig, Sources};
use crate::devices::Devices;
use crate::executor::{Runtime, tests::FakePlatform};
use crate::hypervisor::fake::FakeHypervisor;
use crate::hypervisor::{ForeignMemory, Hypervisor};

/// The port on which the fake tells of domains' ends.
const VIRQ_PORT: Port = Port::new(1);

/// A host under test.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) hypervisor: FakeHypervisor,
    pub(crate) platform: FakePlatform,
    pub(crate) runtime: Runtime,
    pub(crate) toolstack: Rc<Toolstack>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let hypervisor = FakeHypervisor::new(64);
        let platform = FakePlatform::default();
        let runtime = Runtime::new(platform.clone());
        let toolstack = Toolstack::new(
            Rc::new(hypervisor.clone()),
            &runtime,
            FakeHost::new(),
            Rc::new(devices()),
        );
        toolstack.start().unwrap();
        Self {
            hypervisor,
            platform,
            runtime,
            toolstack,
        }
    }

    pub(crate) fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.runtime.block_on(future)
    }

    /// Lets all tasks do what they have to.
    pub(crate) fn settle(&self) {
        let runtime = self.runtime.clone();
        self.run(async move {
            for _ in 0..1000 {
                runtime.yield_now().await;
            }
        });
    }

    pub(crate) fn create(&self, settings: &str) -> Result<Rc<Guest>, CreateError> {
        let images = Images {
            kernel: self.toolstack.keep_image(good_elf()),
            ramdisk: None,
        };
        let toolstack = self.toolstack.clone();
        let config = config(settings);
        self.run(async move { toolstack.create(config, images, false).await })
    }

    pub(crate) fn destroy(&self, domain: DomId) {
        let toolstack = self.toolstack.clone();
        self.run(async move { toolstack.destroy(domain).await })
            .unwrap();
    }

    /// Ends a domain as if by itself, and lets the toolstack see to it.
    pub(crate) fn end(&self, guest: &Guest, reason: ShutdownReason) {
        self.hypervisor.shut_down(guest.domain(), reason);
        self.platform.events.borrow_mut().push_back(VIRQ_PORT);
        self.settle();
    }

    /// All of xenstore, a path a line.
    fn store(&self) -> Vec<String> {
        fn below(
            root: &mut backends::xenstore::Local<'_, '_>,
            path: &str,
            all: &mut Vec<String>,
        ) -> Result<(), backends::xenstore::Error> {
            for name in root.list(if path.is_empty() { "/" } else { path })? {
                let path = format!("{path}/{name}");
                below(root, &path, all)?;
                all.push(path);
            }
            Ok(())
        }
        self.toolstack.with_store(|store| {
            let mut all = Vec::new();
            store.as_dom0(|root| below(root, "", &mut all)).unwrap();
            all
        })
    }

    /// Everything a domain could leave behind.
    pub(crate) fn books(&self) -> impl PartialEq + std::fmt::Debug {
        (
            self.hypervisor.books(),
            self.store(),
            self.toolstack.names(),
        )
    }

    /// One of a guest's ring pages, as the guest has it.
    fn page(&self, guest: &Guest, path: &str) -> Box<dyn ForeignMemory> {
        let path = format!("/local/domain/{}/{path}/ring-ref", guest.domain());
        let frame = self.toolstack.with_store(|store| store.get(&path)).unwrap();
        self.hypervisor
            .map(guest.domain(), &[Mfn::new(frame.parse().unwrap())])
            .unwrap()
    }

    /// Lets a guest print.
    pub(crate) fn print(&self, guest: &Guest, text: &str) {
        let page = self.page(guest, "console");
        let prod = page.load_u32(core::mem::offset_of!(ConsoleRing, out_prod));
        for (index, byte) in text.bytes().enumerate() {
            page.write(1024 + (prod as usize + index) % 2048, &[byte]);
        }
        let prod = prod.wrapping_add(u32::try_from(text.len()).unwrap());
        page.store_u32(core::mem::offset_of!(ConsoleRing, out_prod), prod);
        self.fire(guest, 2);
    }

    fn fire(&self, guest: &Guest, port: u32) {
        let local = u32::from(guest.domain().get()) * 16 + port;
        self.platform
            .events
            .borrow_mut()
            .push_back(Port::new(local));
        self.settle();
    }
}

/// Two disks that can be written, `vda` and `vdb`, and one that can't: `vdc`.
fn devices() -> Devices {
    let mut devices = Devices::default();
    devices.add_disk(Rc::new(FakeDisk::new(64)));
    devices.add_disk(Rc::new(FakeDisk::new(64)));
    let read_only = FakeDisk::new(64).with_geometry(|geometry| geometry.read_only = true);
    devices.add_disk(Rc::new(read_only));
    devices
}

pub(super) fn config(settings: &str) -> DomainConfig {
    let mut sources = Sources::default();
    sources
        .file("test", &format!("kernel='k'\nmemory=16\n{settings}"))
        .unwrap();
    sources.finish().unwrap().0
}

#[test]
fn a_domain_comes_and_goes_and_leaves_nothing() {
    let bench = Bench::new();
    let before = bench.books();
    let guest = bench.create("name='a'\nvcpus=2").unwrap();
    bench.print(&guest, "hello\n");
    assert_eq!(guest.console_log(), b"hello\n");
    let home = format!("/local/domain/{}", guest.domain());
    let store = bench.store();
    for node in [
        "name",
        "cpu/1/availability",
        "control/shutdown",
        "console/ring-ref",
        "store/port",
    ] {
        assert!(store.contains(&format!("{home}/{node}")), "{node}");
    }
    bench.destroy(guest.domain());
    assert_eq!(bench.books(), before);
    assert_eq!(guest.phase(), Phase::Gone);
}

#[test]
fn a_guest_talks_to_xenstore_over_its_ring() {
    let bench = Bench::new();
    let guest = bench.create("name='a'").unwrap();
    let page = bench.page(&guest, "store");
    let payload = b"control/shutdown\0";
    let kind = MessageType::Read.number();
    let len = u32::try_from(payload.len()).unwrap();
    let header = MessageHeader {
        kind,
        req_id: 7,
        tx_id: 0,
        len,
    };
    page.write(0, header.as_bytes());
    page.write(16, payload);
    page.store_u32(core::mem::offset_of!(XenstoreRing, req_prod), 16 + len);
    bench.fire(&guest, 1);
    assert_eq!(
        page.load_u32(core::mem::offset_of!(XenstoreRing, req_cons)),
        16 + len
    );
    assert_eq!(
        page.load_u32(core::mem::offset_of!(XenstoreRing, rsp_prod)),
        16
    );
}

#[test]
fn whatever_call_fails_a_creation_leaves_nothing() {
    for calls in 0.. {
        let bench = Bench::new();
        let before = bench.books();
        bench.hypervisor.fail_after(calls);
        let settings = "name='a'\ndisk=['/dev/vda,raw,xvda']\nvif=['']";
        if bench.create(settings).is_ok() {
            assert!(calls > 20);
            return;
        }
        bench.settle();
        assert_eq!(bench.books(), before, "after {calls} calls");
    }
}

#[test]
fn a_name_can_be_had_once() {
    let bench = Bench::new();
    let first = bench.create("name='a'").unwrap();
    let error = bench.create("name='a'").unwrap_err();
    assert_eq!(
        error,
        CreateError::Duplicate {
            name: "a".into(),
            domain: Some(first.domain())
        }
    );
    assert!(matches!(
        bench.create("name='Domain-0'"),
        Err(CreateError::Duplicate { .. })
    ));
    bench.destroy(first.domain());
    assert!(bench.create("name='a'").is_ok());
}

#[test]
fn the_end_is_what_the_configuration_says() {
    let bench = Bench::new();
    let before = bench.books();
    let off = bench.create("name='off'").unwrap();
    bench.end(&off, ShutdownReason::Poweroff);
    assert_eq!(bench.books(), before);

    let kept = bench.create("name='kept'\non_crash='preserve'").unwrap();
    bench.print(&kept, "last words");
    bench.end(&kept, ShutdownReason::Crash);
    assert_eq!(kept.phase(), Phase::Ended(ShutdownReason::Crash));
    assert_eq!(kept.console_log(), b"last words");
    bench.destroy(kept.domain());
    assert_eq!(bench.books(), before);

    let old = bench.create("name='again'").unwrap();
    bench.end(&old, ShutdownReason::Reboot);
    let new = bench.toolstack.guests().pop().unwrap();
    assert_eq!((new.name(), new.phase()), ("again".into(), Phase::Alive));
    assert_ne!(new.domain(), old.domain());
    bench.destroy(new.domain());
    assert_eq!(bench.books(), before);

    let crashed = bench
        .create("name='both'\non_crash='rename-restart'")
        .unwrap();
    bench.end(&crashed, ShutdownReason::Crash);
    let names: Vec<_> = bench
        .toolstack
        .guests()
        .iter()
        .map(|guest| guest.name())
        .collect();
    assert_eq!(
        names,
        [format!("both-{}", crashed.domain()), "both".to_owned()]
    );
}

#[test]
fn last_words_are_read_before_the_domain_goes() {
    let bench = Bench::new();
    let guest = bench.create("name='a'").unwrap();
    // Printed, but nobody has been told yet.
    let page = bench.page(&guest, "console");
    page.write(1024, b"bye");
    page.store_u32(core::mem::offset_of!(ConsoleRing, out_prod), 3);
    bench.end(&guest, ShutdownReason::Poweroff);
    assert_eq!(guest.console_log(), b"bye");
}

#[test]
fn a_domain_destroyed_behind_our_back_is_cleaned_up_after() {
    let bench = Bench::new();
    let before = bench.books();
    let guest = bench.create("name='a'").unwrap();
    while bench.hypervisor.destroy_step(guest.domain()).is_err() {}
    bench.platform.events.borrow_mut().push_back(VIRQ_PORT);
    bench.settle();
    assert_eq!(bench.books(), before);
}

#[test]
fn a_caller_who_stops_waiting_leaves_no_half_made_domain() {
    let bench = Bench::new();
    let (toolstack, runtime) = (bench.toolstack.clone(), bench.runtime.clone());
    let images = Images {
        kernel: toolstack.keep_image(good_elf()),
        ramdisk: None,
    };
    bench.run(async move {
        let caller = runtime.clone();
        let waiting = caller.spawn(async move {
            let _ = toolstack.create(config("name='a'"), images, false).await;
        });
        for _ in 0..5 {
            runtime.yield_now().await;
        }
        waiting.abort();
    });
    bench.settle();
    let guest = bench.toolstack.guests().pop().unwrap();
    assert_eq!(guest.phase(), Phase::Alive);
}

#[test]
fn a_hostile_ring_costs_its_guest_its_services_only() {
    let bench = Bench::new();
    let before = bench.books();
    let bad = bench.create("name='bad'").unwrap();
    let good = bench.create("name='good'").unwrap();
    for (path, offset) in [
        ("store", core::mem::offset_of!(XenstoreRing, req_prod)),
        ("console", core::mem::offset_of!(ConsoleRing, out_prod)),
    ] {
        bench.page(&bad, path).store_u32(offset, 0x8000_0000);
    }
    bench.fire(&bad, 1);
    bench.fire(&bad, 2);
    let log = String::from_utf8(bad.console_log()).unwrap();
    assert!(log.contains("console closed"), "{log}");
    bench.print(&good, "well");
    assert_eq!(good.console_log(), b"well");
    bench.destroy(bad.domain());
    bench.destroy(good.domain());
    assert_eq!(bench.books(), before);
}

#[test]
fn the_same_file_is_kept_once() {
    let bench = Bench::new();
    let one = bench.toolstack.keep_image(vec![1, 2, 3]);
    let two = bench.toolstack.keep_image(vec![1, 2, 3]);
    assert!(Rc::ptr_eq(&one, &two));
    drop((one, two));
    bench.toolstack.keep_image(vec![4]);
    assert!(bench.toolstack.images.borrow().len() <= 1);
}
