//! The figures, one after the other.

mod user;

use frontends::arch::hypercall;
use frontends::guest_abi::{Errno, VcpuId, sched::ShutdownReason};
use frontends::start::StartOfDay;
use frontends::traps::{self, TrapFrame};
use frontends::{events, println, sched};

use crate::arch::{self, Scratch};

const BOOT: VcpuId = VcpuId::new(0);
/// Rounds of each measurement; even, so that what alternates ends as it began.
const ROUNDS: u64 = 1000;
/// Entries of a large batch.
const BATCH: usize = 64;

/// Measures, prints, and ends the domain.
pub(crate) fn main(_start: &'static StartOfDay) -> ! {
    traps::set_handler(pass_breakpoints);
    match measure_all() {
        Ok(()) => println!("verdict: ok"),
        Err(errno) => println!("verdict: failed: {}", errno.name()),
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

fn pass_breakpoints(frame: &mut TrapFrame) -> bool {
    frame.vector == 3
}

fn measure_all() -> Result<(), Errno> {
    report("empty loop", ROUNDS, || Ok(()))?;
    report("null hypercall (xen_version)", ROUNDS, || {
        let _ = hypercall::version();
        Ok(())
    })?;
    report("sched_yield", ROUNDS, || {
        sched::yield_now();
        Ok(())
    })?;
    page_tables()?;
    event_to_self()?;
    report("int3 and back", ROUNDS, || {
        arch::breakpoint();
        Ok(())
    })?;
    user::system_calls()
}

fn page_tables() -> Result<(), Errno> {
    let mut scratch = Scratch::new()?;
    report("pin and unpin of an empty L1", ROUNDS, || {
        scratch.pin()?;
        scratch.unpin()
    })?;
    scratch.pin()?;
    report("update_va_mapping", ROUNDS, || scratch.update_va_mapping())?;
    report("mmu_update of 1 entry", ROUNDS, || {
        scratch.mmu_update::<1>()
    })?;
    report("mmu_update of 64 entries", ROUNDS, || {
        scratch.mmu_update::<BATCH>()
    })?;
    scratch.clear(BATCH)?;
    scratch.unpin()?;
    report("new_baseptr", ROUNDS, || scratch.new_baseptr())?;
    report("TLB flush", ROUNDS, || scratch.flush())?;
    report("invlpg", ROUNDS, || scratch.invlpg())
}

/// An event that this domain sends to itself, fetched by looking or by upcall.
fn event_to_self() -> Result<(), Errno> {
    let port = events::bind_ipi(BOOT)?;
    report("event to self, masked, and fetched", ROUNDS, || {
        events::send(port)?;
        events::take(BOOT, |_| ());
        Ok(())
    })?;
    report("event to self, with upcall, and fetched", ROUNDS, || {
        events::open_upcalls(BOOT);
        events::send(port)?;
        events::take(BOOT, |_| ());
        Ok(())
    })?;
    events::close(port)
}

/// Prints what one round costs, the mean over `rounds`.
fn report(
    what: &str,
    rounds: u64,
    mut round: impl FnMut() -> Result<(), Errno>,
) -> Result<(), Errno> {
    // The first round fills caches, and runs into what is done lazily.
    round()?;
    round()?;
    let start = arch::cycles();
    for _ in 0..rounds {
        round()?;
    }
    let cycles = arch::cycles() - start;
    println!("{what}: {}", cycles.div_ceil(rounds));
    Ok(())
}
