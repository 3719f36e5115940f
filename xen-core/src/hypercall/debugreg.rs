//! `set_debugreg` and `get_debugreg`.

use guest_abi::errno::Errno;

use super::{Call, Reply};
use crate::arch::machine::Hardware;
use crate::trap::debugreg;

/// Sets a debug register of the calling vCPU.
pub fn set_debugreg(call: &mut Call<'_>) -> Reply {
    let [number, value, ..] = call.args;
    let number = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
    let mut context = call.vcpu.context.lock();
    debugreg::set(&mut context.debug, number, value, &Hardware)?;
    Ok(0)
}

/// Reads a debug register of the calling vCPU.
pub fn get_debugreg(call: &mut Call<'_>) -> Reply {
    let [number, ..] = call.args;
    let number = u8::try_from(number).map_err(|_| Errno::EINVAL)?;
    let value = call
        .vcpu
        .context
        .lock()
        .debug
        .get(number)
        .ok_or(Errno::EINVAL)?;
    Ok(value.cast_signed())
}
