//! The record in a guest's memory from which it learns its vCPUs' run states.
//!
//! The address is a virtual one of the guest kernel, so the record is written only while the
//! kernel's page tables are loaded. If the vCPU is in user mode, the record is marked stale and
//! written when it is back in its kernel. With `VMASST_TYPE_runstate_update_flag` readers on other
//! CPUs can tell a record that changes under their eyes:
//!
//! 1. the top byte of `state_entry_time` is written with the update flag in it;
//! 2. the whole record is written, flag included;
//! 3. the top byte is written without the flag.
//!
//! A domain with one vCPU has no such readers, and is spared the first and the last step.
//!
//! x86 keeps stores in order; the compiler fence between the steps is in the copy, which it
//! cannot look into.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_abi::errno::Errno;
use guest_abi::vcpu::RUNSTATE_UPDATE;

use super::runstate::Runstate;
use crate::domain::{Vcpu, VcpuRef};
use crate::hypercall::guest_ptr::GuestPtr;

/// `VMASST_TYPE_runstate_update_flag`.
const UPDATE_FLAG_ASSIST: u32 = 5;

/// Where the last byte of `state_entry_time` lies in the record.
const TOP_BYTE: u64 = 15;

/// Where a vCPU's record lies, and whether it is out of date.
#[derive(Debug)]
pub(super) struct RunstateArea {
    address: AtomicU64,
    is_stale: AtomicBool,
}

impl RunstateArea {
    pub(super) const fn new() -> Self {
        Self {
            address: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
        }
    }

    fn address(&self) -> u64 {
        self.address.load(Ordering::Relaxed)
    }
}

/// Registers where `vcpu`'s record lies (null: nowhere any more), and writes it at once if `vcpu`
/// is the caller.
///
/// # Errors
/// `EFAULT` when the caller could not write there.
pub fn register(caller: &VcpuRef, vcpu: &Vcpu, address: u64) -> Result<(), Errno> {
    let is_own = core::ptr::eq::<Vcpu>(&**caller, vcpu);
    if address != 0 {
        // Another vCPU of the same domain shares the kernel's address space, or will: the first
        // record can be written through the caller's tables.
        write(caller, vcpu.sched.runstate(), address)?;
    }
    vcpu.sched.area.address.store(address, Ordering::Relaxed);
    vcpu.sched.area.is_stale.store(!is_own, Ordering::Relaxed);
    Ok(())
}

/// Forgets the record: the memory behind it is about to be someone else's.
pub(super) fn forget(vcpu: &Vcpu) {
    vcpu.sched.area.address.store(0, Ordering::Relaxed);
}

/// Writes the record of a vCPU that goes off its CPU. A domain's only vCPU has nobody who could
/// read it before that vCPU is back, and its record is written then.
pub(super) fn publish_rest(vcpu: &VcpuRef) {
    if !is_only_vcpu(vcpu) {
        publish(vcpu);
    }
}

fn is_only_vcpu(vcpu: &VcpuRef) -> bool {
    vcpu.domain().vcpus().len() == 1
}

/// Writes the record of the vCPU whose page tables are loaded, or marks it stale.
pub(super) fn publish(vcpu: &VcpuRef) {
    let Vcpu { sched, entry, .. } = &**vcpu;
    let address = sched.area.address();
    if address == 0 {
        return;
    }
    let in_user_mode = !entry.in_kernel();
    sched.area.is_stale.store(in_user_mode, Ordering::Relaxed);
    if !in_user_mode {
        let runstate = sched.inner.lock().runstate;
        // A guest that unmapped its record does without.
        let _ = write(vcpu, runstate, address);
    }
}

/// Whether the record had to be put off.
pub(super) fn is_stale(vcpu: &VcpuRef) -> bool {
    vcpu.sched.area.is_stale.load(Ordering::Relaxed)
}

/// Writes the record if it had to be put off, for the vCPU that this CPU is about to return to.
pub fn refresh(vcpu: &VcpuRef) {
    if is_stale(vcpu) {
        publish(vcpu);
    }
}

fn write(vcpu: &VcpuRef, runstate: Runstate, address: u64) -> Result<(), Errno> {
    let mut info = runstate.info();
    let record = GuestPtr::new(address);
    if is_only_vcpu(vcpu) || !vcpu.domain().assists(UPDATE_FLAG_ASSIST) {
        return record.copy_out(&info);
    }
    let top = GuestPtr::<u8>::new(address).at(TOP_BYTE)?;
    let [.., quiet] = info.state_entry_time.to_le_bytes();
    info.state_entry_time |= RUNSTATE_UPDATE;
    let [.., changing] = info.state_entry_time.to_le_bytes();
    top.copy_out(&changing)?;
    record.copy_out(&info)?;
    top.copy_out(&quiet)
}
