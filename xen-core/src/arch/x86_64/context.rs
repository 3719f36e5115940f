//! Switching vCPUs.
//!
//! While a vCPU runs, its registers are in the frame and the rest of its state is in the hardware.
//! A switch away saves all of it; what is left in the hardware then is a copy. So a CPU that goes
//! idle keeps the copy, and if the same vCPU is the next to run there, and has run nowhere else
//! and been changed by nobody meanwhile ([`VcpuContext::generation`]), only the frame is filled.
//!
//! A CPU is in the domain's `dirty_cpus` for as long as a root of that domain is in its CR3.

use core::sync::atomic::{AtomicBool, Ordering};

use guest_abi::frame::Mfn;
use guest_abi::vcpu::CpuUserRegs;

use super::percpu::{cpu_info, frame_of_this_cpu, this_cpu};
use super::{debugreg, fpu, gdt, paging, percpu, segments, tlb, windows};
use crate::arch::machine::Hardware;
use crate::cpu::{CpuId, MAX_CPUS};
use crate::domain::{Domain, VcpuRef};
use crate::sync::SpinLock;
use crate::trap::bounce::{self, Bounce, Extra};
use crate::trap::context::VcpuContext;
use crate::trap::gdt::Gdt;
use crate::trap::ldt::Ldt;
use crate::trap::state::EntryState;

/// What a CPU's hardware holds.
#[derive(Debug)]
struct Loaded {
    vcpu: VcpuRef,
    generation: u64,
    /// A breakpoint is armed.
    debug_armed: bool,
}

static LOADED: [SpinLock<Option<Loaded>>; MAX_CPUS] = [const { SpinLock::new(None) }; MAX_CPUS];
/// How many pages of each CPU's GDT and LDT windows show a guest's frames.
static SHOWN: [SpinLock<[usize; 2]>; MAX_CPUS] = [const { SpinLock::new([0; 2]) }; MAX_CPUS];
/// CPUs that are to leave the state of a vCPU that does not run.
static DROP: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];

/// Saves `prev`, which ran here, and fills the frame and the hardware with `next`. Without a next
/// the CPU goes idle on `prev`'s page tables.
pub fn switch(prev: Option<&VcpuRef>, next: Option<&VcpuRef>) {
    if let Some(prev) = prev {
        save(prev);
    }
    if let Some(next) = next {
        resume(next);
    }
}

fn save(vcpu: &VcpuRef) {
    let frame = frame_of_this_cpu();
    let mut context = vcpu.context.lock();
    // SAFETY: this CPU's frame, to which no reference is alive (see `exit::leave`).
    context.regs = unsafe { frame.read() };
    segments::save_selectors(&mut context.regs);
    context.bases = segments::save_bases(vcpu.entry.in_kernel());
    // With TS set the instruction that saves would fault.
    fpu::enable();
    fpu::save(&mut context.fpu);
    fpu::set_task_switched(context.task_switched);
    tlb::leave_lazy();
}

fn resume(vcpu: &VcpuRef) {
    let frame = frame_of_this_cpu();
    let mut loaded = LOADED[this_cpu().index()].lock();
    let mut context = vcpu.context.lock();
    let is_here = loaded
        .as_ref()
        .is_some_and(|old| old.vcpu.is(vcpu) && old.generation == context.generation);
    // SAFETY: this CPU's frame, to which no reference is alive (see `exit::leave`).
    unsafe { frame.write(context.regs) };
    let mut selectors_failed = false;
    if !is_here {
        let old = loaded.take();
        selectors_failed = !load(vcpu, &mut context, old.as_ref());
        let generation = context.generation;
        let debug_armed = context.debug.is_armed();
        *loaded = Some(Loaded {
            vcpu: vcpu.clone(),
            generation,
            debug_armed,
        });
    } else {
        // A flush may have taken the CPU off it.
        tlb::resume_root(root_of(&vcpu.entry));
    }
    drop(context);
    drop(loaded);
    if selectors_failed {
        // SAFETY: as above.
        deliver_failsafe(vcpu, unsafe { &mut *frame });
    }
}

/// Loads everything but the frame. Says whether all selectors were good.
fn load(vcpu: &VcpuRef, context: &mut VcpuContext, old: Option<&Loaded>) -> bool {
    let cpu = this_cpu();
    let (entry, domain) = (&vcpu.entry, vcpu.domain());
    // Whoever holds an older copy of this vCPU's state must not use it again.
    context.generation += 1;

    domain.dirty_cpus.insert(cpu);
    show_pages(cpu, &context.gdt, &context.ldt);
    tlb::enter_root(root_of(entry));
    if let Some(old) = old
        && old.vcpu.domain().id != domain.id
    {
        old.vcpu.domain().dirty_cpus.remove(cpu);
    }
    load_ldtr(cpu, &context.ldt, old.is_some());

    let good = segments::load_selectors(&context.regs);
    segments::load_bases(context.bases, entry.in_kernel());
    segments::set_tsc_aux(context.tsc_aux);
    fpu::enable();
    fpu::load(&context.fpu);
    fpu::set_task_switched(context.task_switched);
    debugreg::switch(old.is_some_and(|old| old.debug_armed), &context.debug);
    let address = core::ptr::from_ref::<EntryState>(entry) as u64;
    cpu_info().entry_state.store(address, Ordering::Relaxed);
    good
}

fn root_of(entry: &EntryState) -> Mfn {
    entry.root().unwrap_or(entry.kernel_root()).frame()
}

/// Puts the frames of a vCPU's descriptor tables into the CPU's windows. They show after the next
/// load of CR3.
fn show_pages(cpu: CpuId, gdt: &Gdt, ldt: &Ldt) {
    let mut shown = SHOWN[cpu.index()].lock();
    let [gdt_pages, ldt_pages] = *shown;
    for page in 0..gdt_pages.max(gdt.frames.len()) {
        windows::set_gdt_page(cpu, page, gdt.frames.get(page).copied());
    }
    for page in 0..ldt_pages.max(ldt.frames.len()) {
        windows::set_ldt_page(cpu, page, ldt.frames.get(page).copied());
    }
    *shown = [gdt.frames.len(), ldt.frames.len()];
}

fn load_ldtr(cpu: CpuId, ldt: &Ldt, may_be_loaded: bool) {
    if ldt.entries == 0 && !may_be_loaded {
        return;
    }
    if let Some(page) = windows::own_page(cpu) {
        gdt::load_ldt(cpu, page, ldt.entries);
    }
}

/// The selectors of a vCPU are good no longer: its kernel is told, with the values it had.
fn deliver_failsafe(vcpu: &VcpuRef, regs: &mut CpuUserRegs) {
    let Some(callback) = vcpu.entry.failsafe_callback() else {
        return;
    };
    let (handler, masks_events) = (callback.address, callback.masks_events);
    let bounce = Bounce {
        handler,
        masks_events,
        extra: Extra::Selectors,
    };
    if let Err(reason) = bounce::deliver(bounce, regs, &vcpu.entry, &Hardware) {
        super::entry::crash(vcpu, regs, reason);
    }
}

/// Shows the calling vCPU's new GDT.
pub fn show_gdt(context: &VcpuContext) {
    let cpu = this_cpu();
    show_pages(cpu, &context.gdt, &context.ldt);
    tlb::flush_local();
}

/// Shows the calling vCPU's new LDT.
pub fn show_ldt(context: &VcpuContext) {
    let cpu = this_cpu();
    show_pages(cpu, &context.gdt, &context.ldt);
    tlb::flush_local();
    load_ldtr(cpu, &context.ldt, true);
}

/// The calling vCPU has loaded debug registers.
pub fn note_debug_registers(armed: bool) {
    if let Some(loaded) = &mut *LOADED[this_cpu().index()].lock() {
        loaded.debug_armed = armed;
    }
}

/// Makes every CPU leave the page tables of `domain`, none of whose vCPUs runs any more.
pub fn drop_lazy(domain: &Domain) {
    for cpu in domain.dirty_cpus.load().without(this_cpu()).iter() {
        DROP[cpu.index()].store(true, Ordering::SeqCst);
        super::apic::kick(cpu);
    }
    if domain.dirty_cpus.load().contains(this_cpu()) {
        drop_state();
    }
    while !domain.dirty_cpus.load().is_empty() {
        super::poll();
        core::hint::spin_loop();
    }
}

/// Does what [`drop_lazy`] on another CPU waits for.
pub(super) fn drop_if_asked() {
    let asked = &DROP[this_cpu().index()];
    if asked.load(Ordering::SeqCst) && asked.swap(false, Ordering::SeqCst) && is_idle() {
        drop_state();
    }
}

fn is_idle() -> bool {
    crate::sched::current().is_none()
}

/// Leaves the state of the vCPU that ran here last.
fn drop_state() {
    let cpu = this_cpu();
    let Some(old) = LOADED[cpu.index()].lock().take() else {
        return;
    };
    show_pages(cpu, &Gdt::default(), &Ldt::default());
    tlb::load_root(paging::core_root());
    load_ldtr(cpu, &Ldt::default(), true);
    if old.debug_armed {
        debugreg::disarm();
    }
    cpu_info().entry_state.store(0, Ordering::Relaxed);
    old.vcpu.domain().dirty_cpus.remove(cpu);
}

/// The vCPU whose state is in this CPU's hardware, if that can be told at once.
pub fn loaded_for_report() -> Option<VcpuRef> {
    // Before a CPU is up it has no name to look under.
    if percpu::online().is_empty() {
        return None;
    }
    let loaded = LOADED[this_cpu().index()].try_lock()?;
    loaded.as_ref().map(|loaded| loaded.vcpu.clone())
}
