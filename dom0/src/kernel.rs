//! The kernel: starts the services, then runs them for ever.
//!
//! ```text
//!   serial console ──▶ shell ─────┐
//!   virtio console ──▶ mgmt ──────┴─▶ xl ──▶ toolstack ──▶ hypervisor
//! ```

extern crate alloc;

use alloc::rc::Rc;

use dom0::{
    devices::{Devices, disk_check, nic_check},
    drivers::{acpi, pci::Bus, virtio_console},
    executor::Runtime,
    host::BackendHost,
    hypervisor::Xen,
    logging,
    machine::Machine,
    mgmt::server,
    serial::Serial,
    shell::Shell,
    toolstack::Toolstack,
    xl::Xl,
};
use frontends::{
    guest_abi::{Errno, sched::ShutdownReason},
    println, sched,
    start::StartOfDay,
};

/// Starts dom0.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    logging::start(start.argument("loglevel"));
    match start_services(start) {
        Ok((runtime, serial, xl)) => runtime.block_on(Shell::new(serial, xl).run()),
        Err(errno) => {
            println!("dom0 cannot start: {}", errno.name());
            sched::shutdown(ShutdownReason::Crash)
        }
    }
}

/// Starts everything that runs beside the shell.
fn start_services(start: &StartOfDay) -> Result<(Runtime, Serial, Xl), Errno> {
    let runtime = Runtime::new(Machine::new()?);
    let serial = Serial::open(&runtime)?;
    let mut bus = find_bus(start);
    let devices = bus.as_mut().map(|bus| Devices::start(&runtime, bus));
    let devices = devices.unwrap_or_default();
    let toolstack = Toolstack::new(
        Rc::new(Xen),
        &runtime,
        BackendHost::new(&runtime),
        Rc::new(devices),
    );
    toolstack.start()?;
    start_checks(start, &toolstack);
    let xl = Xl::new(toolstack);
    if let Err(errno) = start_management(&runtime, bus.as_mut(), &xl) {
        // A host without the device is driven by its serial console alone.
        log::warn!("no management channel: {}", errno.name());
    }
    let now = runtime.now().as_nanos();
    log::info!("ready {} us after the core's start", now / 1000);
    Ok((runtime, serial, xl))
}

/// Starts what the command line asks for beside the services: `disk-check=NAME`,
/// `nic-check=NAME`.
fn start_checks(start: &StartOfDay, toolstack: &Toolstack) {
    let runtime = toolstack.runtime();
    let parts = || (toolstack.host().clone(), toolstack.devices().clone());
    if let Some(name) = start.argument("disk-check") {
        let (host, devices) = parts();
        runtime.spawn(disk_check(host, devices, name.into()));
    }
    if let Some(name) = start.argument("nic-check") {
        let (host, devices) = parts();
        runtime.spawn(nic_check(runtime.clone(), host, devices, name.into()));
    }
}

/// Finds the devices' bus: by the firmware's tables, which a loader may have pointed to.
fn find_bus(start: &StartOfDay) -> Option<Bus> {
    let root_pointer = start.argument("acpi_rsdp");
    Bus::find(root_pointer.and_then(acpi::root_pointer_argument))
}

/// Opens the way in for `xl` on the host.
fn start_management(runtime: &Runtime, bus: Option<&mut Bus>, xl: &Xl) -> Result<(), Errno> {
    let bus = bus.ok_or(Errno::ENODEV)?;
    let stream = virtio_console::start(runtime, bus)?;
    let commands = Rc::new(xl.clone());
    runtime.spawn(server::serve(
        runtime.clone(),
        commands,
        stream.input,
        stream.output,
    ));
    Ok(())
}
