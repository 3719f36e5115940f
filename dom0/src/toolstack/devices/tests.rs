//! Devices over their whole lives, with frontends that only know states.

use std::rc::Rc;

use guest_abi::DomId;
use guest_abi::sched::ShutdownReason;

use super::{DeviceError, Kind, Plugged};
use crate::config::{DiskSpec, VifSpec};
use crate::toolstack::tests::Bench;
use crate::toolstack::{CreateError, Guest};

const BOTH: &str = "name='a'\ndisk=['phy:/dev/vda,xvda,w']\nvif=['mac=00:16:3e:00:00:02']";

impl Bench {
    fn node(&self, path: &str) -> Option<String> {
        self.toolstack.with_store(|store| store.get(path))
    }

    fn put(&self, path: &str, value: &str) {
        self.toolstack
            .with_store(|store| store.put(path, value))
            .unwrap();
        self.settle();
    }

    fn attach_disk(&self, guest: &Rc<Guest>, spec: &str) -> Result<Rc<Plugged>, DeviceError> {
        let (toolstack, guest) = (self.toolstack.clone(), guest.clone());
        let (spec, _) = DiskSpec::parse(spec).unwrap();
        let attached = self.run(async move { toolstack.attach_disk(&guest, spec).await });
        self.settle();
        attached
    }

    fn attach_vif(&self, guest: &Rc<Guest>, spec: &str) -> Result<Rc<Plugged>, DeviceError> {
        let (spec, _) = VifSpec::parse(spec).unwrap();
        let attached = self.toolstack.attach_vif(guest, spec);
        self.settle();
        attached
    }

    fn detach(&self, guest: &Rc<Guest>, device: &Rc<Plugged>) -> Result<(), String> {
        let (toolstack, guest, device) = (self.toolstack.clone(), guest.clone(), device.clone());
        let detached = self.run(async move { toolstack.detach(&guest, &device).await });
        detached.map_err(|error| error.to_string())
    }
}

fn front(guest: &Guest, node: &str) -> String {
    format!("/local/domain/{}/device/{node}", guest.domain())
}

fn back(guest: &Guest, kind: &str, node: &str) -> String {
    format!("/local/domain/0/backend/{kind}/{}/{node}", guest.domain())
}

#[test]
fn a_domain_has_its_devices_from_the_start_and_takes_them_with_it() {
    let bench = Bench::new();
    let before = bench.books();
    let guest = bench.create(BOTH).unwrap();
    bench.settle();
    let vbd = back(&guest, "vbd", "51712");
    for (path, value) in [
        (front(&guest, "vbd/51712/backend"), vbd.as_str()),
        (front(&guest, "vbd/51712/backend-id"), "0"),
        (front(&guest, "vbd/51712/state"), "1"),
        (front(&guest, "vbd/51712/virtual-device"), "51712"),
        (front(&guest, "vbd/51712/device-type"), "disk"),
        (format!("{vbd}/params"), "/dev/vda"),
        (format!("{vbd}/mode"), "w"),
        (format!("{vbd}/dev"), "xvda"),
        (format!("{vbd}/online"), "1"),
        (format!("{vbd}/hotplug-status"), "connected"),
        (format!("{vbd}/state"), "2"),
        (front(&guest, "vif/0/mac"), "00:16:3e:00:00:02"),
        (front(&guest, "vif/0/mtu"), "1500"),
        (back(&guest, "vif", "0/bridge"), "xenbr0"),
        (back(&guest, "vif", "0/state"), "2"),
    ] {
        assert_eq!(bench.node(&path).as_deref(), Some(value), "{path}");
    }
    bench.destroy(guest.domain());
    assert_eq!(bench.books(), before);
    // And the disk and the address are free again.
    let again = bench.create(BOTH).unwrap();
    bench.end(&again, ShutdownReason::Poweroff);
    assert_eq!(bench.books(), before);
}

#[test]
fn a_guest_is_told_the_mtu_that_its_line_asks_for() {
    let bench = Bench::new();
    let guest = bench.create("name='a'").unwrap();
    for (spec, mtu) in [("mtu=9000", "9000"), ("bridge=internal0", "1500")] {
        let device = bench.attach_vif(&guest, spec).unwrap();
        let node = |path: String| bench.node(&path);
        let nodes = [front(&guest, "vif/0/mtu"), back(&guest, "vif", "0/mtu")].map(node);
        assert_eq!(nodes, [Some(mtu.to_owned()), Some(mtu.to_owned())]);
        bench.detach(&guest, &device).unwrap();
    }
}

#[test]
fn nodes_belong_to_whom_stock_xen_gives_them() {
    let bench = Bench::new();
    let guest = bench.create(BOTH).unwrap();
    let owner = |path: &str| {
        bench.toolstack.with_store(|store| {
            let wire = store
                .as_dom0(|root| root.permissions(path))
                .unwrap()
                .to_wire();
            String::from_utf8(wire).unwrap()
        })
    };
    let domain = guest.domain();
    assert_eq!(owner(&front(&guest, "vbd")), format!("n0\0r{domain}\0"));
    assert_eq!(
        owner(&front(&guest, "vbd/51712")),
        format!("n{domain}\0r0\0")
    );
    assert_eq!(
        owner(&front(&guest, "vbd/51712/state")),
        format!("n{domain}\0r0\0")
    );
    assert_eq!(
        owner(&front(&guest, "vif/0/mtu")),
        format!("n0\0r{domain}\0")
    );
    assert_eq!(
        owner(&back(&guest, "vbd", "51712/state")),
        format!("n0\0r{domain}\0")
    );
}

#[test]
fn what_cannot_be_had_is_told_and_leaves_nothing() {
    let bench = Bench::new();
    let holder = bench.create(BOTH).unwrap();
    let before = bench.books();
    for (settings, words) in [
        (
            "disk=['/dev/vdz,raw,xvda']",
            "disk xvda: /dev/vdz: no such disk;",
        ),
        (
            "disk=['/dev/vda,raw,xvdb']",
            "disk xvdb: /dev/vda is in use by domain a;",
        ),
        (
            "disk=['/dev/vda,raw,xvdb,r']",
            "disk xvdb: /dev/vda is in use by domain a;",
        ),
        (
            "disk=['/dev/vdc,raw,xvda']",
            "disk xvda: /dev/vdc cannot be written",
        ),
        (
            "vif=['mac=00:16:3e:00:00:02']",
            "vif 0: MAC address 00:16:3e:00:00:02 is in use by vif 0 of domain a; choose another",
        ),
        (
            "vif=['bridge=xenbr7']",
            "vif 0: bridge xenbr7 wants a card eth7",
        ),
    ] {
        let error = bench.create(&format!("name='b'\n{settings}")).unwrap_err();
        assert!(matches!(error, CreateError::Device(_)));
        let text = error.to_string();
        assert!(text.starts_with(words), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert_eq!(bench.books(), before, "{settings}");
    }
    bench.destroy(holder.domain());
    bench
        .create("name='b'\ndisk=['/dev/vda,raw,xvdb,r','/dev/vdc,raw,xvdc,r']")
        .unwrap();
    bench
        .create("name='c'\ndisk=['/dev/vda,raw,xvdb,r']")
        .unwrap();
}

#[test]
fn a_device_comes_and_goes_while_its_guest_runs() {
    let bench = Bench::new();
    let guest = bench.create("name='a'").unwrap();
    let before = bench.books();
    let disk = bench.attach_disk(&guest, "/dev/vdb,raw,xvdb").unwrap();
    let state = front(&guest, "vbd/51728/state");
    // A frontend at work, as far as states go.
    bench.put(&state, "2");
    let (platform, runtime) = (bench.toolstack.clone(), bench.runtime.clone());
    let path = state.clone();
    bench.runtime.spawn(async move {
        runtime.sleep(core::time::Duration::from_secs(1)).await;
        platform.with_store(|store| store.put(&path, 6)).unwrap();
    });
    assert_eq!(bench.detach(&guest, &disk), Ok(()));
    assert_eq!(bench.node(&state), None);
    assert!(guest.devices().is_empty());
    // What has never been used goes at once.
    let vif = bench.attach_vif(&guest, "bridge=lan").unwrap();
    assert_eq!(
        bench.node(&back(&guest, "vif", "0/bridge")).as_deref(),
        Some("lan")
    );
    assert_eq!(bench.detach(&guest, &vif), Ok(()));
    bench.toolstack.with_store(|store| {
        let folders = [front(&guest, "vbd"), front(&guest, "vif")];
        folders
            .iter()
            .for_each(|path| store.as_dom0(|root| root.remove(path)).unwrap());
    });
    assert_eq!(bench.books(), before);
}

#[test]
fn a_guest_that_keeps_its_device_is_named_and_overruled() {
    let bench = Bench::new();
    let guest = bench.create("name='a'").unwrap();
    let disk = bench.attach_disk(&guest, "/dev/vdb,raw,xvdb").unwrap();
    bench.put(&front(&guest, "vbd/51728/state"), "2");
    let error = bench.detach(&guest, &disk).unwrap_err();
    assert!(
        error.starts_with("disk xvdb: the guest has not let go of it within 10 s"),
        "{error}"
    );
    assert_eq!(
        bench.node(&back(&guest, "vbd", "51728/state")).as_deref(),
        Some("5")
    );
    let (toolstack, owner) = (bench.toolstack.clone(), guest.clone());
    bench.run(async move { toolstack.detach_by_force(&owner, &disk).await });
    assert!(guest.devices().is_empty());
    assert!(bench.attach_disk(&guest, "/dev/vdb,raw,xvdb").is_ok());
}

#[test]
fn a_place_is_taken_once() {
    let bench = Bench::new();
    let guest = bench.create(BOTH).unwrap();
    let before = bench.books();
    let error = bench.attach_disk(&guest, "/dev/vdb,raw,d0p0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "disk d0p0: domain a has one already; choose another"
    );
    let error = bench.attach_vif(&guest, "devid=0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "vif 0: domain a has one already; choose another"
    );
    assert_eq!(bench.books(), before);
    assert_eq!(bench.attach_vif(&guest, "").unwrap().id(), 1);
}

#[test]
fn a_reboot_keeps_what_was_plugged_in() {
    let bench = Bench::new();
    let guest = bench.create(BOTH).unwrap();
    bench.attach_disk(&guest, "/dev/vdb,raw,xvdb").unwrap();
    let vif = bench.attach_vif(&guest, "bridge=lan").unwrap();
    let mac = vif.vif().unwrap().1;
    bench.end(&guest, ShutdownReason::Reboot);
    let again = bench.toolstack.guests().pop().unwrap();
    assert_ne!(again.domain(), guest.domain());
    let ids: Vec<_> = again
        .devices()
        .iter()
        .map(|one| (one.kind(), one.id()))
        .collect();
    assert_eq!(
        ids,
        [
            (Kind::Vbd, 51712),
            (Kind::Vbd, 51728),
            (Kind::Vif, 0),
            (Kind::Vif, 1)
        ]
    );
    assert_eq!(again.device(Kind::Vif, 1).unwrap().vif().unwrap().1, mac);
}

#[test]
fn a_renamed_domain_leaves_its_devices_to_the_next() {
    let bench = Bench::new();
    let guest = bench
        .create(&format!("{BOTH}\non_crash='rename-restart'"))
        .unwrap();
    bench.end(&guest, ShutdownReason::Crash);
    let counts: Vec<_> = bench
        .toolstack
        .guests()
        .iter()
        .map(|guest| guest.devices().len())
        .collect();
    assert_eq!(counts, [0, 2]);
}

#[test]
fn a_backend_is_replaced_without_a_word() {
    let bench = Bench::new();
    let guest = bench.create(BOTH).unwrap();
    bench.settle();
    let before = bench.books();
    for device in guest.devices() {
        let (toolstack, device) = (bench.toolstack.clone(), device.clone());
        bench
            .run(async move { toolstack.restart_backend(&device).await })
            .unwrap();
    }
    bench.settle();
    assert_eq!(bench.books(), before);
    assert_eq!(
        bench.node(&back(&guest, "vbd", "51712/state")).as_deref(),
        Some("2")
    );
}

#[test]
fn a_device_whose_nodes_the_guest_removes_does_no_harm() {
    let bench = Bench::new();
    let before = bench.books();
    let guest = bench.create(BOTH).unwrap();
    bench.settle();
    let path = front(&guest, "vbd/51712");
    bench
        .toolstack
        .with_store(|store| store.as_dom0(|root| root.remove(&path)))
        .unwrap();
    bench.settle();
    assert_ne!(guest.domain(), DomId::DOM0);
    bench.destroy(guest.domain());
    assert_eq!(bench.books(), before);
}
