//! Hypercalls as functions.
//!
//! A call is safe to make here if all it can touch is its argument, lent for
//! the call. [`Plain`] marks the structs for which that is so: those that hold
//! no pointer. Calls that follow pointers or change mappings have functions of
//! their own, which take slices and owned pages.

use alloc::{vec, vec::Vec};

use guest_abi::{
    Errno, GuestVirtAddr, Hypercall, MachAddr, callback, event_channel, grant_table, ids, memory,
    mmu::{MmuUpdate, MmuextOp, Pte},
    physdev, sched, vcpu, version,
};

/// A hypercall's argument struct without pointers or effects beyond itself.
///
/// # Safety
///
/// No call that takes this struct reads or writes memory of the caller outside it.
pub unsafe trait Plain {}

macro_rules! plain {
    ($($ty:ty),* $(,)?) => {$(
        // SAFETY: the struct holds numbers only; what the call does, it does to
        // objects of the hypervisor and to this struct.
        unsafe impl Plain for $ty {}
    )*};
}

plain! {
    callback::CallbackRegister,
    event_channel::AllocUnbound,
    event_channel::BindInterdomain,
    event_channel::BindVirq,
    event_channel::BindPirq,
    event_channel::BindIpi,
    event_channel::Close,
    event_channel::Send,
    event_channel::Status,
    event_channel::BindVcpu,
    event_channel::Unmask,
    grant_table::GrantCopy,
    grant_table::QuerySize,
    memory::MachphysMapping,
    memory::MemoryDomain,
    physdev::Eoi,
    physdev::MapPirq,
    physdev::PciDevice,
    physdev::PciDeviceAdd,
    physdev::PciMmcfgReserved,
    physdev::SetIopl,
    physdev::UnmapPirq,
    sched::RemoteShutdown,
    sched::Shutdown,
    vcpu::SetSingleshotTimer,
    version::CompileInfo,
    version::FeatureInfo,
    version::PlatformParameters,
    [u8; 16],
    [u8; 64],
    [u8; 1024],
}

#[cfg(target_os = "none")]
use guest_abi::trap::TrapInfo;

/// The address of a value that is lent to a hypercall.
fn lend<T: ?Sized>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64
}

/// A call of the form `(command, *argument)`.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn command<T: Plain>(call: Hypercall, command: u32, arg: &mut T) -> Result<u64, Errno> {
    // SAFETY: the call touches only `arg` (promise of `Plain`), which is lent exclusively.
    unsafe { guest_abi::call::call(call, [u64::from(command), lend(arg)]) }
}

/// A call of the form `(command)`.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn bare(call: Hypercall, command: u32) -> Result<u64, Errno> {
    // SAFETY: without a pointer there is nothing the call could touch.
    unsafe { guest_abi::call::call(call, [u64::from(command), 0]) }
}

/// A `vcpu_op` on one vCPU.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn vcpu_op<T: Plain>(op: vcpu::VcpuOp, id: ids::VcpuId, arg: &mut T) -> Result<u64, Errno> {
    let args = [u64::from(op.number()), u64::from(id.get()), lend(arg)];
    // SAFETY: as in `command`.
    unsafe { guest_abi::call::call(Hypercall::VcpuOp, args) }
}

/// A `vcpu_op` without argument.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn vcpu_op_bare(op: vcpu::VcpuOp, id: ids::VcpuId) -> Result<u64, Errno> {
    let args = [u64::from(op.number()), u64::from(id.get()), 0];
    // SAFETY: as in `bare`.
    unsafe { guest_abi::call::call(Hypercall::VcpuOp, args) }
}

/// A batch of `grant_table_op`s that name no memory of ours.
///
/// # Errors
///
/// The hypervisor's refusal of the whole batch; each element has its own status.
pub fn grant_table_op<T: Plain>(
    op: grant_table::GrantTableOp,
    batch: &mut [T],
) -> Result<(), Errno> {
    let args = [u64::from(op.number()), lend(batch), batch.len() as u64];
    // SAFETY: as in `command`.
    unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) }.map(drop)
}

/// The hypervisor's version: the part before the point in the upper 16 bits.
#[must_use]
pub fn version() -> u32 {
    let version = bare(Hypercall::XenVersion, version::VersionOp::Version.number());
    version.map_or(0, |version| u32::try_from(version).unwrap_or(0))
}

/// Grows this domain's grant table to `frames` pages and answers their frames.
///
/// # Errors
///
/// The hypervisor's refusal.
pub fn setup_grant_table(frames: u32) -> Result<Vec<u64>, Errno> {
    let mut list = vec![0_u64; frames as usize];
    let mut arg = grant_table::SetupTable {
        dom: ids::DomIdArg::SELF,
        nr_frames: frames,
        frame_list: GuestVirtAddr::new(lend(list.as_mut_slice())),
        ..grant_table::SetupTable::default()
    };
    let op = grant_table::GrantTableOp::SetupTable.number();
    let args = [u64::from(op), lend(&mut arg), 1];
    // SAFETY: the call writes the status and, at `frame_list`, as many numbers as
    // there are frames: the list has room for them.
    unsafe { guest_abi::call::call(Hypercall::GrantTableOp, args) }?;
    crate::grants::errno_of(arg.status)?;
    Ok(list)
}

/// Prints to the emergency console.
pub fn console_write(text: &[u8]) {
    let args = [
        u64::from(guest_abi::console_io::ConsoleIoOp::Write.number()),
        text.len() as u64,
        text.as_ptr().expose_provenance() as u64,
    ];
    // SAFETY: the call only reads `text`. If it is refused there is nobody to tell.
    let _ = unsafe { guest_abi::call::call(Hypercall::ConsoleIo, args) };
}

/// Reads from the emergency console; answers how many bytes came.
pub fn console_read(into: &mut [u8]) -> usize {
    let args = [
        u64::from(guest_abi::console_io::ConsoleIoOp::Read.number()),
        into.len() as u64,
        lend(into),
    ];
    // SAFETY: the call writes at most the length given, into an exclusive buffer.
    let got = unsafe { guest_abi::call::call(Hypercall::ConsoleIo, args) };
    got.map_or(0, |got| usize::try_from(got).unwrap_or(0).min(into.len()))
}

/// Installs exception handlers; the table ends with an empty entry.
///
/// # Errors
///
/// The hypervisor's refusal.
#[cfg(target_os = "none")]
pub(crate) fn install_traps(table: &[TrapInfo; 33]) -> Result<(), Errno> {
    // SAFETY: the call reads up to the table's empty entry; the addresses are
    // those of the stubs in `trap`, the only ones a table of this crate holds.
    unsafe {
        guest_abi::call::call(
            Hypercall::SetTrapTable,
            [table.as_ptr().expose_provenance() as u64],
        )
    }
    .map(drop)
}

/// Updates page-table entries; answers at which one it failed.
///
/// # Safety
///
/// No mapping that Rust code relies on goes away or changes its meaning.
pub unsafe fn mmu_update(batch: &[MmuUpdate], foreign: u16) -> Result<(), (usize, Errno)> {
    let mut done = 0_u32;
    let args = [
        batch.as_ptr().expose_provenance() as u64,
        batch.len() as u64,
        lend(&mut done),
        u64::from(foreign),
    ];
    // SAFETY: the call reads `batch` and writes `done`; its effects are the caller's promise.
    let result = unsafe { guest_abi::call::call(Hypercall::MmuUpdate, args) };
    result.map(drop).map_err(|errno| (done as usize, errno))
}

/// Pins, loads roots, flushes.
///
/// # Safety
///
/// As for [`mmu_update`].
pub unsafe fn mmuext_op(batch: &[MmuextOp], foreign: u16) -> Result<(), Errno> {
    let args = [
        batch.as_ptr().expose_provenance() as u64,
        batch.len() as u64,
        0,
        u64::from(foreign),
    ];
    // SAFETY: the call reads `batch`; its effects are the caller's promise.
    unsafe { guest_abi::call::call(Hypercall::MmuextOp, args) }.map(drop)
}

/// Replaces the entry that maps `address`, and flushes it.
///
/// # Safety
///
/// As for [`mmu_update`].
pub(crate) unsafe fn update_va_mapping(address: u64, entry: Pte) -> Result<(), Errno> {
    let args = [address, entry.get(), guest_abi::mmu::UVMF_INVLPG];
    // SAFETY: the call takes no pointers; its effect is the caller's promise.
    unsafe { guest_abi::call::call(Hypercall::UpdateVaMapping, args) }.map(drop)
}

/// Gives single pages of this domain back or takes some; answers how many, counted from the front
/// of the list. Taking turns the pfns in the list into frames.
///
/// # Safety
///
/// Frames that are given back are mapped nowhere; for those that are taken there is no duty.
pub(crate) unsafe fn reservation(op: memory::MemoryOp, list: &mut [u64]) -> Result<usize, Errno> {
    let mut arg = memory::MemoryReservation {
        extent_start: GuestVirtAddr::new(lend(list)),
        nr_extents: list.len() as u64,
        domid: ids::DomIdArg::SELF,
        ..memory::MemoryReservation::default()
    };
    let args = [u64::from(op.number()), lend(&mut arg)];
    // SAFETY: the call reads and writes `list` only; its effects are the caller's promise.
    let done = unsafe { guest_abi::call::call(Hypercall::MemoryOp, args) }?;
    usize::try_from(done).map_err(|_| Errno::EINVAL)
}

/// An entry's machine address in a page table, as `mmu_update` wants it.
pub(crate) fn entry_address(table: guest_abi::Mfn, index: usize) -> MachAddr {
    MachAddr::new(table.to_maddr().get() + index as u64 * 8)
}
