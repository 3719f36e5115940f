//! `callback_op`: where the guest's kernel is entered other than by exceptions.

use guest_abi::callback::{
    CALLBACKF_MASK_EVENTS, CallbackOp, CallbackRegister, CallbackType, CallbackUnregister,
};
use guest_abi::errno::Errno;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply};
use crate::trap::state::{Callback, is_callable};

/// Registers a callback, or refuses to take one away.
pub fn callback_op(call: &mut Call<'_>) -> Reply {
    let [command, argument, ..] = call.args;
    match CallbackOp::from_register(command) {
        Some(CallbackOp::Register) => {
            register(call, GuestPtr::<CallbackRegister>::new(argument).copy_in()?)
        }
        Some(CallbackOp::Unregister) => {
            unregister(GuestPtr::<CallbackUnregister>::new(argument).copy_in()?)
        }
        None => Err(Errno::ENOSYS.into()),
    }
}

fn register(call: &Call<'_>, wanted: CallbackRegister) -> Reply {
    let kind = CallbackType::from_number(wanted.kind).ok_or(Errno::ENOSYS)?;
    if !is_callable(wanted.address) {
        return Err(Errno::EINVAL.into());
    }
    let masks_events = wanted.flags & CALLBACKF_MASK_EVENTS != 0;
    let callback = Callback {
        address: wanted.address,
        masks_events,
    };
    let entry = &call.vcpu.entry;
    match kind {
        CallbackType::Event => entry.set_event_callback(wanted.address),
        CallbackType::Failsafe => entry.set_failsafe_callback(callback),
        CallbackType::Syscall => entry.set_syscall_callback(callback),
        // 32-bit programs use `int 0x80`; NMIs go through the trap table.
        CallbackType::Sysenter | CallbackType::Syscall32 | CallbackType::Nmi => {
            return Err(Errno::ENOSYS.into());
        }
    }
    Ok(0)
}

/// The three that a kernel cannot do without stay.
fn unregister(wanted: CallbackUnregister) -> Reply {
    match CallbackType::from_number(wanted.kind) {
        Some(CallbackType::Event | CallbackType::Failsafe | CallbackType::Syscall) => {
            Err(Errno::EINVAL.into())
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}
