//! The figures, one after the other.
//!
//! Nothing is printed before all is measured: printing wakes dom0, whose work would be counted.

extern crate alloc;

mod peer;
mod user;

use alloc::vec::Vec;

use frontends::arch::hypercall;
use frontends::guest_abi::{Errno, VcpuId, sched::ShutdownReason};
use frontends::start::StartOfDay;
use frontends::traps::{self, TrapFrame};
use frontends::{events, println, sched};

use crate::arch::{self, Grants, Scratch};

const BOOT: VcpuId = VcpuId::new(0);
/// Rounds in a row; even, so that what alternates ends as it began.
const ROUNDS: u64 = 100;
/// How often that is repeated: the best counts, because others may have run during the rest.
const REPEATS: u64 = 10;
/// Entries of a large batch.
const BATCH: usize = 64;
/// Pages of a large request for a disk.
const PAGES: usize = 32;

/// Measures, prints, and ends the domain.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    traps::set_handler(pass_breakpoints);
    let mut figures = Figures {
        only: start.command_line(),
        taken: Vec::new(),
    };
    let outcome = measure_all(&mut figures);
    for (what, cycles) in figures.taken {
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
struct Figures {
    /// Part of the names of what is to be measured.
    only: &'static str,
    taken: Vec<(&'static str, u64)>,
}

impl Figures {
    /// Measures one thing.
    fn add(
        &mut self,
        what: &'static str,
        mut round: impl FnMut() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if !what.contains(self.only) {
            return Ok(());
        }
        let mut best = u64::MAX;
        for _ in 0..REPEATS {
            let start = arch::cycles();
            for _ in 0..ROUNDS {
                round()?;
            }
            best = best.min(arch::cycles() - start);
        }
        self.taken.push((what, best.div_ceil(ROUNDS)));
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
    grants(figures)?;
    event_to_self(figures)?;
    peer::wake_and_back(figures)?;
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

/// Single operations, and batches: for those the figure is that of the whole batch.
fn grants(figures: &mut Figures) -> Result<(), Errno> {
    let grants = Grants::new(PAGES)?;
    figures.add("grant copy, 4 KiB", || grants.copy::<1>(4096, false))?;
    figures.add("grant copy, 4 KiB, grant to grant", || {
        grants.copy::<1>(4096, true)
    })?;
    figures.add("64 grant copies of 8 bytes", || {
        grants.copy::<BATCH>(8, false)
    })?;
    figures.add("64 grant copies of 8 bytes, grant to grant", || {
        grants.copy::<BATCH>(8, true)
    })?;
    figures.add("grant map and unmap", || grants.map::<1>())?;
    figures.add("grant map and unmap of 32", || grants.map::<PAGES>())
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
