//! A domain's nodes in xenstore: those that guests and tools look for, with stock Xen's names,
//! values and permissions.

use alloc::format;
use alloc::string::String;

use backends::xenstore::{Error, Local, Permissions, Store};
use guest_abi::DomId;

use super::{DOM0_NAME, Guest};
use crate::builder::{Rings, uuid_text};

/// Bytes of console output that are kept, as tools are told.
const CONSOLE_LIMIT: u32 = 1_048_576;

/// The host's own nodes. Folders that domains come and go in are made at once, so that a host
/// without domains always looks the same.
pub(super) fn host(store: &mut Store) -> Result<(), Error> {
    store.as_dom0(|root| {
        for folder in [
            "/tool/xenstored",
            "/vm",
            "/libxl",
            "/local/domain/0/backend/console",
            "/local/domain/0/backend/vbd",
            "/local/domain/0/backend/vif",
        ] {
            root.make_directory(folder)?;
        }
        root.write("/local/domain/0/domid", 0)?;
        root.write("/local/domain/0/name", DOM0_NAME)?;
        root.write("/local/pool/0/name", "Pool-0")
    })
}

/// A writer of one domain's nodes.
struct Nodes<'a, 'b, 'c> {
    root: &'a mut Local<'b, 'c>,
    home: String,
    /// dom0's, readable by the domain.
    ours: Permissions,
    /// The domain's own.
    theirs: Permissions,
}

impl Nodes<'_, '_, '_> {
    fn ours(&mut self, name: &str, value: impl core::fmt::Display) -> Result<(), Error> {
        let path = format!("{}/{name}", self.home);
        self.root.write_with(&path, value, &self.ours)
    }

    fn theirs(&mut self, name: &str) -> Result<(), Error> {
        let path = format!("{}/{name}", self.home);
        self.root.write_with(&path, "", &self.theirs)
    }
}

/// Writes a new domain's nodes, all at once.
pub(super) fn create(store: &mut Store, guest: &Guest, rings: &Rings) -> Result<(), Error> {
    let domain = guest.domain;
    store.as_dom0(|root| {
        let home = home(domain);
        let ours = Permissions::readable_by(DomId::DOM0, domain);
        let theirs = Permissions::owned_by(domain);
        root.write_with(&home, "", &ours)?;
        let mut nodes = Nodes {
            root,
            home,
            ours,
            theirs,
        };
        about(&mut nodes, guest)?;
        for folder in ["device", "control", "store", "console"] {
            nodes.ours(folder, "")?;
        }
        nodes.ours("device/suspend", "")?;
        for own in [
            "device/suspend/event-channel",
            "control/shutdown",
            "control/feature-poweroff",
            "control/feature-reboot",
            "control/feature-suspend",
            "control/sysrq",
            "data",
            "drivers",
            "feature",
            "attr",
            "error",
        ] {
            nodes.theirs(own)?;
        }
        nodes.ours("control/platform-feature-multiprocessor-suspend", 1)?;
        nodes.ours("control/platform-feature-xs_reset_watches", 1)?;
        nodes.ours("store/port", rings.store_port.get())?;
        nodes.ours("store/ring-ref", rings.store_frame.get())?;
        console(&mut nodes, domain, rings)?;
        virtual_machine(&mut nodes, guest)
    })
}

/// Name, memory, CPUs.
fn about(nodes: &mut Nodes<'_, '_, '_>, guest: &Guest) -> Result<(), Error> {
    let config = &guest.config;
    nodes.ours("vm", format_args!("/vm/{}", uuid_text(&guest.uuid)))?;
    nodes.ours("name", guest.name.borrow())?;
    nodes.ours("domid", guest.domain.get())?;
    nodes.ours("cpu", "")?;
    for cpu in 0..config.vcpus {
        nodes.ours(&format!("cpu/{cpu}"), "")?;
        nodes.ours(&format!("cpu/{cpu}/availability"), "online")?;
    }
    nodes.ours("memory", "")?;
    nodes.ours("memory/static-max", config.max_memory_mib * 1024)?;
    nodes.ours("memory/target", config.memory_mib * 1024)?;
    nodes.ours("memory/videoram", 0)
}

/// Both ends of the console.
fn console(nodes: &mut Nodes<'_, '_, '_>, domain: DomId, rings: &Rings) -> Result<(), Error> {
    let backend = backend(domain);
    nodes.ours("console/backend", format_args!("{backend}/0"))?;
    nodes.ours("console/backend-id", 0)?;
    nodes.ours("console/limit", CONSOLE_LIMIT)?;
    nodes.ours("console/type", "xenconsoled")?;
    nodes.ours("console/output", "pty")?;
    nodes.ours("console/port", rings.console_port.get())?;
    nodes.ours("console/ring-ref", rings.console_frame.get())?;
    let frontend = format!("{}/console", nodes.home);
    let permissions = nodes.ours.clone();
    let mut write = |name: &str, value: &dyn core::fmt::Display| {
        nodes
            .root
            .write_with(&format!("{backend}/0{name}"), value, &permissions)
    };
    write("", &"")?;
    write("/frontend", &frontend)?;
    write("/frontend-id", &domain.get())?;
    write("/online", &1)?;
    write("/state", &1)?;
    write("/protocol", &"vt100")
}

/// What belongs to the machine rather than to this run of it.
fn virtual_machine(nodes: &mut Nodes<'_, '_, '_>, guest: &Guest) -> Result<(), Error> {
    let (config, vm) = (&guest.config, format!("/vm/{}", uuid_text(&guest.uuid)));
    let permissions = nodes.ours.clone();
    let mut write = |name: &str, value: &dyn core::fmt::Display| {
        nodes
            .root
            .write_with(&format!("{vm}{name}"), value, &permissions)
    };
    write("", &"")?;
    write("/name", &guest.name.borrow())?;
    write("/uuid", &uuid_text(&guest.uuid))?;
    write("/image", &"")?;
    write("/image/ostype", &"linux")?;
    write("/image/kernel", &config.kernel)?;
    write(
        "/image/ramdisk",
        &config.ramdisk.as_deref().unwrap_or_default(),
    )?;
    write("/image/cmdline", &config.command_line)?;
    let started = guest.created.as_nanos();
    write(
        "/start_time",
        &format_args!(
            "{}.{:02}",
            started / 1_000_000_000,
            started / 10_000_000 % 100
        ),
    )?;
    nodes
        .root
        .write(&format!("/libxl/{}/type", guest.domain.get()), "pv")
}

/// Removes all nodes of a domain. The store itself forgets those the domain owned.
pub(super) fn remove(store: &mut Store, guest: &Guest) {
    let domain = guest.domain;
    let paths = [
        home(domain),
        backend(domain),
        format!("/vm/{}", uuid_text(&guest.uuid)),
        format!("/libxl/{}", domain.get()),
    ];
    for path in paths {
        if let Err(error) = store.as_dom0(|root| root.remove(&path)) {
            log::warn!("xenstore: {path} could not be removed: {error}");
        }
    }
}

/// Writes a domain's new name.
pub(super) fn rename(store: &mut Store, guest: &Guest) {
    let name = guest.name.borrow();
    let paths = [
        format!("{}/name", home(guest.domain)),
        format!("/vm/{}/name", uuid_text(&guest.uuid)),
    ];
    for path in paths {
        if let Err(error) = store.put(&path, &name) {
            log::warn!("xenstore: {path} could not be written: {error}");
        }
    }
}

/// Where a domain's nodes lie.
pub(super) fn home(domain: DomId) -> String {
    format!("/local/domain/{}", domain.get())
}

fn backend(domain: DomId) -> String {
    format!("/local/domain/0/backend/console/{}", domain.get())
}
