//! The kernel.

extern crate alloc;

use alloc::{format, string::String};

use frontends::{
    guest_abi::sched::ShutdownReason,
    println, sched,
    start::StartOfDay,
    xenbus::{StoreError, Transaction, Xenbus},
};

/// Says hello, and ends the way the toolstack wants.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    let mut store = Xenbus::open(start).ok().flatten();
    let name = store.as_mut().and_then(|store| own_name(store).ok());
    println!("hello from {}", name.unwrap_or_else(hypervisor));

    let stay = start.arguments().contains(&"stay");
    let reason = match store {
        Some(mut store) if stay => wait_for_order(&mut store),
        _ => Ok(ShutdownReason::Poweroff),
    };
    sched::shutdown(reason.unwrap_or(ShutdownReason::Crash))
}

/// The domain's name.
fn own_name(store: &mut Xenbus) -> Result<String, StoreError> {
    let name = store.read(Transaction::NONE, "name")?;
    String::from_utf8(name).map_err(|_| StoreError::Protocol)
}

/// What hypervisor this is.
fn hypervisor() -> String {
    let version = frontends::arch::hypercall::version();
    format!("Xen {}.{}", version >> 16, version & 0xffff)
}

/// Waits until `control/shutdown` says how to end.
fn wait_for_order(store: &mut Xenbus) -> Result<ShutdownReason, StoreError> {
    const ORDER: &str = "control/shutdown";
    store.watch(ORDER, "order")?;
    loop {
        store.next_event();
        let order = store.transaction(|store, within| {
            let order = store.read(within, ORDER)?;
            if !order.is_empty() {
                // The empty value tells that the order was heard.
                store.write(within, ORDER, b"")?;
            }
            Ok(order)
        });
        match order.as_deref() {
            Ok(b"poweroff" | b"halt") => return Ok(ShutdownReason::Poweroff),
            Ok(b"reboot") => return Ok(ShutdownReason::Reboot),
            _ => {}
        }
    }
}
