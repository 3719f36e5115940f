//! What is delivered to a vCPU on its way out of the core, and the slow form of `iret`.

use guest_abi::frame::GuestVirtAddr;
use guest_abi::trap::IretFrame;
use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::{FromZeros, IntoBytes};

use super::bounce::{self, Bounce, Extra};
use super::flags;
use super::gpr::low16;
use super::machine::Machine;
use super::state::EntryState;
use crate::effect::CrashReason;

/// Whether an event waits that is not masked.
pub fn has_event(entry: &EntryState, machine: &impl Machine) -> bool {
    machine.event_pending(entry) && machine.event_mask(entry) == 0
}

/// Enters the event callback if an event waits and the guest takes events.
///
/// # Errors
/// The frame cannot be written.
pub fn deliver_event(
    regs: &mut CpuUserRegs,
    entry: &EntryState,
    machine: &impl Machine,
) -> Result<(), CrashReason> {
    if !has_event(entry, machine) {
        return Ok(());
    }
    // Events before there is a callback stay pending.
    let Some(callback) = entry.event_callback() else {
        return Ok(());
    };
    let bounce = Bounce {
        handler: callback.address,
        masks_events: true,
        extra: Extra::None,
    };
    bounce::deliver(bounce, regs, entry, machine)
}

/// Enters the system call callback: what the assembly does when all is in order.
///
/// `Ok(false)`: there is no callback, and the guest gets #UD at its SYSCALL instead.
///
/// # Errors
/// The frame cannot be written.
pub fn deliver_system_call(
    regs: &mut CpuUserRegs,
    entry: &EntryState,
    machine: &impl Machine,
) -> Result<bool, CrashReason> {
    let Some(callback) = entry.syscall_callback() else {
        return Ok(false);
    };
    let masks_events = callback.masks_events;
    let bounce = Bounce {
        handler: callback.address,
        masks_events,
        extra: Extra::None,
    };
    regs.rflags &= !flags::DF;
    bounce::deliver(bounce, regs, entry, machine)?;
    Ok(true)
}

/// The `iret` hypercall: back to what the frame on the guest kernel's stack describes.
///
/// # Errors
/// The frame cannot be read, or it returns to a user mode that has no page tables.
pub fn return_from_handler(
    regs: &mut CpuUserRegs,
    entry: &EntryState,
    machine: &impl Machine,
) -> Result<(), CrashReason> {
    let mut frame = IretFrame::new_zeroed();
    machine
        .read(GuestVirtAddr::new(regs.rsp), frame.as_mut_bytes())
        .map_err(|_| CrashReason::BadIret { rsp: regs.rsp })?;
    if frame.cs & 3 == 3 {
        if entry.user_root().is_none() {
            return Err(CrashReason::NoUserTables);
        }
        machine.toggle_mode(entry);
    }
    entry.set_in_nmi(false);
    machine.set_event_mask(entry, u8::from(frame.rflags & flags::IF == 0));
    regs.rax = frame.rax;
    regs.rcx = frame.rcx;
    regs.r11 = frame.r11;
    regs.rip = frame.rip;
    regs.cs = low16(frame.cs) | 3;
    regs.rflags = flags::sanitise(frame.rflags);
    regs.rsp = frame.rsp;
    regs.ss = low16(frame.ss) | 3;
    // rcx and r11 come from the frame: no SYSRET.
    regs.entry_vector = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::machine::FakeMachine;
    use guest_abi::frame::MachAddr;

    const STACK: u64 = 0xffff_8880_0001_0000;

    fn iret_frame(cs: u64, rflags: u64) -> IretFrame {
        let mut frame = IretFrame::new_zeroed();
        (frame.rax, frame.rcx, frame.r11) = (1, 2, 3);
        (frame.rip, frame.cs, frame.rflags) = (0x40_0000, cs, rflags);
        (frame.rsp, frame.ss) = (0x7fff_0000, 0xe02b);
        frame
    }

    fn machine(frame: &IretFrame) -> (FakeMachine, CpuUserRegs, EntryState) {
        let machine = FakeMachine::default();
        machine.map(STACK, frame.as_bytes());
        let mut regs = CpuUserRegs::new_zeroed();
        regs.rsp = STACK;
        (machine, regs, EntryState::new())
    }

    #[test]
    fn iret_to_user_mode_toggles_and_unmasks() {
        let (machine, mut regs, entry) = machine(&iret_frame(0xe033, flags::IF));
        entry.set_user_root(Some(MachAddr::new(0x5000)));
        machine.mask.set(1);
        return_from_handler(&mut regs, &entry, &machine).unwrap();
        assert!(!entry.in_kernel());
        assert_eq!(machine.mask.get(), 0);
        assert_eq!(
            (regs.rax, regs.rcx, regs.r11, regs.rip),
            (1, 2, 3, 0x40_0000)
        );
        assert_eq!(regs.entry_vector, 0);
    }

    #[test]
    fn iret_to_the_kernel_stays_and_masks_if_the_frame_says_so() {
        let (machine, mut regs, entry) = machine(&iret_frame(0xe030, !flags::IF));
        return_from_handler(&mut regs, &entry, &machine).unwrap();
        assert!(entry.in_kernel());
        assert_eq!(machine.mask.get(), 1);
        assert_eq!(regs.cs, 0xe033);
        assert_eq!(regs.rflags & (flags::IOPL | flags::VM), 0);
        assert_ne!(regs.rflags & flags::IF, 0);
    }

    #[test]
    fn iret_without_user_tables_or_frame_ends_the_domain() {
        let (machine, mut regs, entry) = machine(&iret_frame(0xe033, flags::IF));
        let result = return_from_handler(&mut regs, &entry, &machine);
        assert_eq!(result, Err(CrashReason::NoUserTables));
        for rsp in [0xffff_8300_0000_0000, 0x1000, u64::MAX - 8] {
            regs.rsp = rsp;
            let result = return_from_handler(&mut regs, &entry, &machine);
            assert_eq!(result, Err(CrashReason::BadIret { rsp }));
        }
    }

    #[test]
    fn an_event_is_delivered_only_unmasked_and_with_a_callback() {
        let machine = FakeMachine::default();
        machine.map(STACK - 128, &[0; 128]);
        let entry = EntryState::new();
        let mut regs = CpuUserRegs::new_zeroed();
        regs.rsp = STACK;
        machine.pending.set(true);
        deliver_event(&mut regs, &entry, &machine).unwrap();
        assert_eq!(regs.rip, 0);

        entry.set_event_callback(GuestVirtAddr::new(0xffff_ffff_8100_0000));
        machine.mask.set(1);
        deliver_event(&mut regs, &entry, &machine).unwrap();
        assert_eq!(regs.rip, 0);

        machine.mask.set(0);
        deliver_event(&mut regs, &entry, &machine).unwrap();
        assert_eq!(regs.rip, 0xffff_ffff_8100_0000);
        assert_eq!(machine.mask.get(), 1);
    }
}
