//! The kernel.

extern crate alloc;

use alloc::{format, string::String, vec::Vec};
use core::sync::atomic::Ordering;

use frontends::{
    balloon::{Balance, Balloon},
    events,
    guest_abi::{VcpuId, sched::ShutdownReason},
    memory::Page,
    println, sched,
    start::StartOfDay,
    time::{self, Alarm},
    xenbus::{Store, Transaction, Xenbus},
};

const VCPU: VcpuId = VcpuId::new(0);
/// Pages that are kept in any case: 8 MiB.
const FLOOR: u64 = 2048;
/// Pages that are filled and checked.
const KEPT: u64 = 512;
/// How long to wait when there are no pages to be had: in nanoseconds.
const PATIENCE: u64 = 100_000_000;

/// Follows the target until told to end.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    match run(start) {
        Ok(()) => println!("verdict: ok"),
        Err(why) => println!("verdict: failed: {why}"),
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

fn run(start: &'static StartOfDay) -> Result<(), String> {
    let wanted = start
        .argument("pages")
        .and_then(|pages| pages.parse::<u64>().ok());
    let mut store = Xenbus::open(start)
        .map_err(|errno| errno.name())?
        .ok_or("no xenstore")?;
    let alarm = Alarm::new().map_err(|errno| errno.name())?;
    let mut balloon = Balloon::new(&mut store, FLOOR).map_err(|error| format!("{error}"))?;
    store
        .begin_watch("control/shutdown", "order")
        .map_err(|error| format!("{error}"))?;
    let kept = fill()?;
    let mut told = None;
    loop {
        events::take(VCPU, |_| ());
        let balance = balloon
            .run(&mut store)
            .map_err(|error| format!("{error}"))?;
        let pages = balloon.pages().0;
        if balance == Balance::Even && told.replace(pages) != Some(pages) {
            check(&kept)?;
            println!("balloon: {pages} pages");
        }
        if balance == Balance::Even && wanted == Some(pages) || ordered(&mut store) {
            return Ok(());
        }
        match balance {
            Balance::Moving => {}
            Balance::Even => events::wait(VCPU),
            Balance::Stuck => alarm.wait_until(time::now(VCPU) + PATIENCE),
        }
    }
}

/// Whether the toolstack wants an end.
fn ordered(store: &mut Xenbus) -> bool {
    store.has_fired("order")
        && store
            .read(Transaction::NONE, "control/shutdown")
            .is_ok_and(|order| !order.is_empty())
}

/// Pages with their own numbers in them.
fn fill() -> Result<Vec<Page>, String> {
    let mut pages = Vec::new();
    for number in 0..KEPT {
        let page = Page::new().map_err(|errno| errno.name())?;
        for offset in (0..4096).step_by(8) {
            page.u64(offset).store(number, Ordering::Relaxed);
        }
        pages.push(page);
    }
    Ok(pages)
}

/// Whether they still have them.
fn check(pages: &[Page]) -> Result<(), String> {
    for (number, page) in (0..).zip(pages) {
        for offset in (0..4096).step_by(8) {
            if page.u64(offset).load(Ordering::Relaxed) != number {
                return Err(format!("page {number} has changed"));
            }
        }
    }
    // Fresh pages, to see that those which came back are memory.
    drop(fill()?);
    Ok(())
}
