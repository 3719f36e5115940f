//! The figures, one after the other.
//!
//! Nothing is printed before all is measured: printing wakes dom0, whose work would be counted.

extern crate alloc;

mod user;

use alloc::vec::Vec;

use frontends::arch::hypercall;
use frontends::guest_abi::{Errno, VcpuId, sched::ShutdownReason};
use frontends::start::StartOfDay;
use frontends::traps::{self, TrapFrame};
use frontends::{events, println, sched};

use crate::arch::{self, Scratch};

const BOOT: VcpuId = VcpuId::new(0);
/// Rounds in a row; even, so that what alternates ends as it began.
const ROUNDS: u64 = 100;
/// How often that is repeated: the best counts, because others may have run during the rest.
const REPEATS: u64 = 10;
/// Entries of a large batch.
const BATCH: usize = 64;

/// Measures, prints, and ends the domain.
pub(crate) fn main(_start: &'static StartOfDay) -> ! {
    traps::set_handler(pass_breakpoints);
    let mut figures = Figures(Vec::new());
    let outcome = measure_all(&mut figures);
    for (what, cycles) in figures.0 {
        println!("{what}: {cycles}");
    }
    match outcome {
        Ok(()) => println!("verdict: ok"),
        Err(errno) => println!("verdict: failed: {}", errno.name()),
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

fn pass_breakpoints(frame: &mut TrapFrame) -> bool {
    frame.vector == 3
}

/// What was measured, and what one round of it took.
struct Figures(Vec<(&'static str, u64)>);

impl Figures {
    /// Measures one thing.
    fn add(
        &mut self,
        what: &'static str,
        mut round: impl FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut best = u64::MAX;
        for _ in 0..REPEATS {
            let start = arch::cycles();
            for _ in 0..ROUNDS {
                round()?;
            }
            best = best.min(arch::cycles() - start);
        }
        self.0.push((what, best.div_ceil(ROUNDS)));
        Ok(())
    }
}

fn measure_all(figures: &mut Figures) -> Result<(), Errno> {
    figures.add("empty loop", || Ok(()))?;
    figures.add("null hypercall (xen_version)", || {
        let _ = hypercall::version();
        Ok(())
    })?;
    figures.add("sched_yield", || {
        sched::yield_now();
        Ok(())
    })?;
    page_tables(figures)?;
    event_to_self(figures)?;
    figures.add("int3 and back", || {
        arch::breakpoint();
        Ok(())
    })?;
    user::system_calls(figures)
}

fn page_tables(figures: &mut Figures) -> Result<(), Errno> {
    let mut scratch = Scratch::new()?;
    figures.add("pin and unpin of an empty L1", || {
        scratch.pin()?;
        scratch.unpin()
    })?;
    scratch.pin()?;
    figures.add("update_va_mapping", || scratch.update_va_mapping())?;
    figures.add("mmu_update of 1 entry", || scratch.mmu_update::<1>())?;
    figures.add("mmu_update of 64 entries", || scratch.mmu_update::<BATCH>())?;
    scratch.clear(BATCH)?;
    scratch.unpin()?;
    figures.add("new_baseptr", || scratch.new_baseptr())?;
    figures.add("TLB flush", || scratch.flush())?;
    figures.add("invlpg", || scratch.invlpg())
}

/// An event that this domain sends to itself, fetched by looking or by upcall.
fn event_to_self(figures: &mut Figures) -> Result<(), Errno> {
    let port = events::bind_ipi(BOOT)?;
    figures.add("event to self, masked, and fetched", || {
        events::send(port)?;
        events::take(BOOT, |_| ());
        Ok(())
    })?;
    figures.add("event to self, with upcall, and fetched", || {
        events::open_upcalls(BOOT);
        events::send(port)?;
        events::take(BOOT, |_| ());
        Ok(())
    })?;
    events::close(port)
}
