//! [`EntryState`]: the part of a vCPU that the assembly of entry and exit reads and writes.
//!
//! Each field is an atomic because assembly, this CPU's Rust and other CPUs (a domctl, an event
//! that looks for the `vcpu_info`) touch it. Only the CPU that runs the vCPU changes
//! [`in_kernel`](EntryState::in_kernel); only a hypercall of the vCPU itself, or a domctl while it
//! is stopped, changes the rest. The two `fast_…` bytes tell the assembly whether it may take its
//! short ways: they are recomputed by each setter, so the assembly tests one byte and no more.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_abi::frame::{GuestVirtAddr, MachAddr};
use guest_abi::trap::FLAT_RING3_SS64;

use crate::arch::layout::is_off_limits;

/// Bytes below the kernel stack pointer that a bounce may write.
const FRAME_ROOM: u64 = 128;

/// A callback that a guest registered: where, and whether events are masked on entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// The handler's address; never off limits.
    pub address: GuestVirtAddr,
    /// Mask events before the handler starts.
    pub masks_events: bool,
}

/// What the assembly needs to know of a vCPU.
#[derive(Debug)]
#[repr(C)]
pub struct EntryState {
    kernel_root: AtomicU64,
    user_root: AtomicU64,
    kernel_sp: AtomicU64,
    syscall_callback: AtomicU64,
    vcpu_info: AtomicU64,
    in_kernel: AtomicBool,
    fast_syscall: AtomicBool,
    fast_iret: AtomicBool,
    syscall_masks: AtomicBool,
    failsafe_masks: AtomicBool,
    in_nmi: AtomicBool,
    nmi_pending: AtomicBool,
    kernel_ss: AtomicU64,
    event_callback: AtomicU64,
    failsafe_callback: AtomicU64,
}

/// Offsets for the assembly.
#[derive(Debug)]
pub struct Offsets;

impl Offsets {
    /// CR3 of the guest's kernel mode.
    pub const KERNEL_ROOT: usize = core::mem::offset_of!(EntryState, kernel_root);
    /// CR3 of the guest's user mode, or 0.
    pub const USER_ROOT: usize = core::mem::offset_of!(EntryState, user_root);
    /// Stack for entries from user mode, aligned to 16.
    pub const KERNEL_SP: usize = core::mem::offset_of!(EntryState, kernel_sp);
    /// Address of the system call handler.
    pub const SYSCALL_CALLBACK: usize = core::mem::offset_of!(EntryState, syscall_callback);
    /// Where the core sees the active `vcpu_info`.
    pub const VCPU_INFO: usize = core::mem::offset_of!(EntryState, vcpu_info);
    /// 1 in guest kernel mode.
    pub const IN_KERNEL: usize = core::mem::offset_of!(EntryState, in_kernel);
    /// 1 when the assembly may bounce system calls.
    pub const FAST_SYSCALL: usize = core::mem::offset_of!(EntryState, fast_syscall);
    /// 1 when the assembly may do `iret`.
    pub const FAST_IRET: usize = core::mem::offset_of!(EntryState, fast_iret);
}

impl Default for EntryState {
    fn default() -> Self {
        Self::new()
    }
}

impl EntryState {
    /// Of a vCPU that is down: guest kernel mode, nothing registered.
    pub const fn new() -> Self {
        Self {
            kernel_root: AtomicU64::new(0),
            user_root: AtomicU64::new(0),
            kernel_sp: AtomicU64::new(0),
            syscall_callback: AtomicU64::new(0),
            vcpu_info: AtomicU64::new(0),
            in_kernel: AtomicBool::new(true),
            fast_syscall: AtomicBool::new(false),
            fast_iret: AtomicBool::new(false),
            syscall_masks: AtomicBool::new(false),
            failsafe_masks: AtomicBool::new(false),
            in_nmi: AtomicBool::new(false),
            nmi_pending: AtomicBool::new(false),
            kernel_ss: AtomicU64::new(FLAT_RING3_SS64 as u64),
            event_callback: AtomicU64::new(0),
            failsafe_callback: AtomicU64::new(0),
        }
    }

    /// Whether the vCPU is in guest kernel mode.
    pub fn in_kernel(&self) -> bool {
        self.in_kernel.load(Ordering::Relaxed)
    }

    /// Sets the virtual mode. Root and GS are the caller's to change with it.
    pub fn set_in_kernel(&self, in_kernel: bool) {
        self.in_kernel.store(in_kernel, Ordering::Relaxed);
    }

    /// Root of the guest kernel's address space.
    pub fn kernel_root(&self) -> MachAddr {
        MachAddr::new(self.kernel_root.load(Ordering::Relaxed))
    }

    /// Root of the guest user's address space, if there is one.
    pub fn user_root(&self) -> Option<MachAddr> {
        match self.user_root.load(Ordering::Relaxed) {
            0 => None,
            root => Some(MachAddr::new(root)),
        }
    }

    /// The root that belongs to the current virtual mode.
    pub fn root(&self) -> Option<MachAddr> {
        if self.in_kernel() {
            Some(self.kernel_root())
        } else {
            self.user_root()
        }
    }

    /// Records the kernel's root. The caller holds its reference and loads it if need be.
    pub fn set_kernel_root(&self, root: MachAddr) {
        self.kernel_root.store(root.get(), Ordering::Relaxed);
    }

    /// Records the user's root; `None` forbids user mode.
    pub fn set_user_root(&self, root: Option<MachAddr>) {
        self.user_root
            .store(root.map_or(0, MachAddr::get), Ordering::Relaxed);
    }

    /// Where the core sees the active `vcpu_info`; null before the vCPU has one.
    pub fn vcpu_info(&self) -> u64 {
        self.vcpu_info.load(Ordering::Acquire)
    }

    /// Moves the `vcpu_info`: `address` is where the core sees it, valid as long as the vCPU is.
    pub fn set_vcpu_info(&self, address: u64) {
        self.vcpu_info.store(address, Ordering::Release);
        self.refresh();
    }

    /// The stack for entries from user mode: selector and pointer, the pointer aligned to 16.
    pub fn kernel_stack(&self) -> (u64, u64) {
        (
            self.kernel_ss.load(Ordering::Relaxed),
            self.kernel_sp.load(Ordering::Relaxed),
        )
    }

    /// Sets the stack for entries from user mode. Any value is taken: a bad one ends the domain
    /// when it is used.
    pub fn set_kernel_stack(&self, ss: u64, sp: u64) {
        self.kernel_ss.store((ss & 0xffff) | 3, Ordering::Relaxed);
        self.kernel_sp.store(sp & !0xf, Ordering::Relaxed);
        self.refresh();
    }

    /// The event callback, if there is one. It always masks events.
    pub fn event_callback(&self) -> Option<Callback> {
        callback(&self.event_callback, true)
    }

    /// The failsafe callback, if there is one.
    pub fn failsafe_callback(&self) -> Option<Callback> {
        callback(
            &self.failsafe_callback,
            self.failsafe_masks.load(Ordering::Relaxed),
        )
    }

    /// The system call callback, if there is one.
    pub fn syscall_callback(&self) -> Option<Callback> {
        callback(
            &self.syscall_callback,
            self.syscall_masks.load(Ordering::Relaxed),
        )
    }

    /// Registers (or, with address 0, removes) the event callback.
    pub fn set_event_callback(&self, address: GuestVirtAddr) {
        self.event_callback.store(address.get(), Ordering::Relaxed);
    }

    /// Registers (or, with address 0, removes) the failsafe callback.
    pub fn set_failsafe_callback(&self, callback: Callback) {
        self.failsafe_callback
            .store(callback.address.get(), Ordering::Relaxed);
        self.failsafe_masks
            .store(callback.masks_events, Ordering::Relaxed);
    }

    /// Registers (or, with address 0, removes) the system call callback.
    pub fn set_syscall_callback(&self, callback: Callback) {
        self.syscall_callback
            .store(callback.address.get(), Ordering::Relaxed);
        self.syscall_masks
            .store(callback.masks_events, Ordering::Relaxed);
        self.refresh();
    }

    /// Whether the guest is in its NMI handler: the next NMI waits for an `iret`.
    pub fn in_nmi(&self) -> bool {
        self.in_nmi.load(Ordering::Relaxed)
    }

    /// Enters or leaves the NMI handler.
    pub fn set_in_nmi(&self, in_nmi: bool) {
        self.in_nmi.store(in_nmi, Ordering::Relaxed);
        self.refresh();
    }

    /// Asks for an NMI at the vCPU's next way out of the core.
    pub fn raise_nmi(&self) {
        self.nmi_pending.store(true, Ordering::Release);
    }

    /// Whether an NMI waits.
    pub fn has_nmi(&self) -> bool {
        self.nmi_pending.load(Ordering::Acquire)
    }

    /// Takes the NMI that waits, if its handler may be entered.
    pub fn take_nmi(&self) -> bool {
        let waits = self.nmi_pending.load(Ordering::Acquire);
        waits && !self.in_nmi() && self.nmi_pending.swap(false, Ordering::AcqRel)
    }

    fn refresh(&self) {
        let sp = self.kernel_sp.load(Ordering::Relaxed);
        let callback = self.syscall_callback.load(Ordering::Relaxed);
        let has_info = self.vcpu_info.load(Ordering::Relaxed) != 0;
        let stack_fits = sp
            .checked_sub(FRAME_ROOM)
            .is_some_and(|at| !is_off_limits(at, FRAME_ROOM));
        let fast_syscall = has_info
            && stack_fits
            && is_callable(GuestVirtAddr::new(callback))
            && self.syscall_masks.load(Ordering::Relaxed);
        self.fast_syscall.store(fast_syscall, Ordering::Relaxed);
        let fast_iret = has_info && !self.in_nmi.load(Ordering::Relaxed);
        self.fast_iret.store(fast_iret, Ordering::Relaxed);
    }
}

/// Whether an address may be registered as a handler: not null, canonical, not the core's.
pub fn is_callable(address: GuestVirtAddr) -> bool {
    !address.is_null() && !is_off_limits(address.get(), 1)
}

fn callback(address: &AtomicU64, masks_events: bool) -> Option<Callback> {
    let address = GuestVirtAddr::new(address.load(Ordering::Relaxed));
    (!address.is_null()).then_some(Callback {
        address,
        masks_events,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> EntryState {
        let entry = EntryState::new();
        entry.set_vcpu_info(0x1000);
        entry.set_kernel_stack(0xe02b, 0xffff_8880_0001_0000);
        let address = GuestVirtAddr::new(0xffff_ffff_8100_0000);
        entry.set_syscall_callback(Callback {
            address,
            masks_events: true,
        });
        entry
    }

    fn is_fast(entry: &EntryState) -> bool {
        entry.fast_syscall.load(Ordering::Relaxed)
    }

    #[test]
    fn the_short_way_is_open_only_when_everything_is_in_order() {
        assert!(is_fast(&ready()));

        let unmasking = ready();
        let address = GuestVirtAddr::new(0xffff_ffff_8100_0000);
        unmasking.set_syscall_callback(Callback {
            address,
            masks_events: false,
        });
        assert!(!is_fast(&unmasking));

        for sp in [
            0,
            64,
            0xffff_8000_0000_1000,
            0xffff_8800_0000_0000,
            0x8000_0000_0040,
        ] {
            let entry = ready();
            entry.set_kernel_stack(0xe02b, sp);
            assert!(!is_fast(&entry), "{sp:#x}");
        }
    }

    #[test]
    fn an_nmi_handler_closes_the_short_way_of_iret() {
        let entry = ready();
        assert!(entry.fast_iret.load(Ordering::Relaxed));
        entry.set_in_nmi(true);
        assert!(!entry.fast_iret.load(Ordering::Relaxed));
    }

    #[test]
    fn handlers_in_the_hole_or_beyond_are_not_callable() {
        for (address, callable) in [
            (0, false),
            (0x1000, true),
            (0x8000_0000_0000, false),
            (0xffff_8000_0000_0000, false),
            (0xffff_87ff_ffff_ffff, false),
            (0xffff_8800_0000_0000, true),
            (0xffff_ffff_8100_0000, true),
        ] {
            assert_eq!(
                is_callable(GuestVirtAddr::new(address)),
                callable,
                "{address:#x}"
            );
        }
    }
}
