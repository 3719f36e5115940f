//! `set_callbacks`: the three callbacks at once, as kernels did before `callback_op`.

use guest_abi::errno::Errno;
use guest_abi::frame::GuestVirtAddr;

use super::{Call, Reply};
use crate::trap::state::{Callback, is_callable};

/// Registers event, failsafe and system call callback. Events are masked in the first only.
pub fn set_callbacks(call: &mut Call<'_>) -> Reply {
    let [event, failsafe, syscall, ..] = call.args.map(GuestVirtAddr::new);
    if ![event, failsafe, syscall].into_iter().all(is_callable) {
        return Err(Errno::EINVAL.into());
    }
    let entry = &call.vcpu.entry;
    entry.set_event_callback(event);
    entry.set_failsafe_callback(Callback {
        address: failsafe,
        masks_events: false,
    });
    entry.set_syscall_callback(Callback {
        address: syscall,
        masks_events: false,
    });
    Ok(0)
}
