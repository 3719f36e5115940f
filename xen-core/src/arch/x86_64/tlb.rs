//! Flushing translations, here and on other CPUs.
//!
//! Guest translations are never global, so a load of CR3 drops all of them. A clock counts flushes:
//! each CPU notes the clock's value when it starts one. Whoever removes a mapping reads the clock
//! afterwards ([`now`]); a CPU whose last flush bears a later stamp cannot hold the old translation
//! any more, and is left in peace ([`need_flush`]).
//!
//! A request to another CPU:
//! 1. set its bit in `REQUESTED` (after the page tables were changed);
//! 2. send the interrupt; it flushes there, or sooner in [`poll`] if it spins for a lock;
//! 3. wait until its stamp is later than the request, serving requests of others meanwhile.
//!
//! A CPU whose root is no running vCPU's keeps it only in the hope that the same vCPU comes back
//! ([`leave_lazy`]). By then the vCPU may run elsewhere and its guest may have given the root up:
//! nothing but the flush stands between that page and its next life. So a lazy CPU answers a
//! request by going to the core's own root, and the old one is in no CR3 once the flush is done.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn};
use x86_64::PhysAddr;
use x86_64::VirtAddr;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::PhysFrame;

use super::percpu::{online, this_cpu};
use super::{apic, paging, vectors};
use crate::cpu::{CpuMask, MAX_CPUS};

static CLOCK: AtomicU64 = AtomicU64::new(1);
static LAST_FLUSH: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static REQUESTED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// CPUs that are on a root which no vCPU uses there.
static LAZY: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// The clock's value: flushes that bear a later stamp began after this call.
pub fn now() -> u64 {
    CLOCK.load(Ordering::SeqCst)
}

/// Those of `cpus` that have not flushed since the clock showed `since`.
pub fn need_flush(cpus: CpuMask, since: u64) -> CpuMask {
    cpus.and(online())
        .iter()
        .filter(|cpu| LAST_FLUSH[cpu.index()].load(Ordering::SeqCst) <= since)
        .fold(CpuMask::EMPTY, CpuMask::with)
}

/// Drops this CPU's guest translations.
pub fn flush_local() {
    if LAZY[this_cpu().index()].load(Ordering::Relaxed) {
        return load_root(paging::core_root());
    }
    let (root, _) = Cr3::read();
    load(root);
}

/// The vCPU whose root this CPU is on does not run here any more.
pub(super) fn leave_lazy() {
    LAZY[this_cpu().index()].store(true, Ordering::Relaxed);
}

/// Puts this CPU on the root of the vCPU that it runs from now on.
pub(super) fn enter_root(root: Mfn) {
    LAZY[this_cpu().index()].store(false, Ordering::Relaxed);
    load_root(root);
}

/// As [`enter_root`], but stays on it if no flush has taken the CPU off it.
pub(super) fn resume_root(root: Mfn) {
    LAZY[this_cpu().index()].store(false, Ordering::Relaxed);
    if current_root() != root {
        load_root(root);
    }
}

/// Switches this CPU to the tables under `root`: one that carries the core's slots.
pub fn load_root(root: Mfn) {
    load(PhysFrame::containing_address(PhysAddr::new(
        root.to_maddr().get(),
    )));
}

/// The root this CPU is on.
pub fn current_root() -> Mfn {
    let (root, _) = Cr3::read();
    MachAddr::new(root.start_address().as_u64()).frame()
}

fn load(root: PhysFrame) {
    let stamp = CLOCK.fetch_add(1, Ordering::SeqCst) + 1;
    // SAFETY: callers hand in roots that carry the core's slots, so all we use stays mapped.
    unsafe { Cr3::write(root, Cr3Flags::empty()) };
    LAST_FLUSH[this_cpu().index()].store(stamp, Ordering::SeqCst);
}

/// Drops this CPU's translation of one page.
pub fn invlpg_local(page: GuestVirtAddr) {
    if page.is_canonical() {
        x86_64::instructions::tlb::flush(VirtAddr::new_truncate(page.get()));
    }
}

/// Drops the guest translations of all of `cpus` and returns when they are gone.
pub fn flush_mask(cpus: CpuMask) {
    let this = this_cpu();
    let since = now();
    let others = cpus.without(this).and(online());
    for cpu in others.iter() {
        REQUESTED[cpu.index()].store(true, Ordering::SeqCst);
        apic::send(cpu, vectors::FLUSH);
    }
    if cpus.contains(this) {
        flush_local();
    }
    while !need_flush(others, since).is_empty() {
        poll();
        core::hint::spin_loop();
    }
}

/// Does what other CPUs wait for. Called from interrupts and whenever this CPU spins.
pub fn poll() {
    let requested = &REQUESTED[this_cpu().index()];
    if requested.load(Ordering::SeqCst) && requested.swap(false, Ordering::SeqCst) {
        flush_local();
    }
}
