//! `set_trap_table`: the guest's exception handlers.

use guest_abi::errno::Errno;
use guest_abi::trap::TrapInfo;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};

/// Gates entered before the call pauses.
const GATES_A_TURN: u64 = 256;

/// Enters gates into the calling vCPU's table, up to the first whose address is null. A null
/// pointer removes all.
pub fn set_trap_table(call: &mut Call<'_>) -> Reply {
    let [pointer, ..] = call.args;
    let gates = GuestPtr::<TrapInfo>::new(pointer);
    if gates.is_null() {
        call.vcpu.context.lock().traps.clear();
        return Ok(0);
    }
    for index in 0..GATES_A_TURN {
        let info = gates.at(index)?.copy_in()?;
        if info.address.is_null() {
            return Ok(0);
        }
        if !call.vcpu.context.lock().traps.set(&info) {
            return Err(Errno::EINVAL.into());
        }
    }
    call.args = [gates.at(GATES_A_TURN)?.address().get(), 0, 0, 0, 0, 0];
    Err(Stop::Again)
}
