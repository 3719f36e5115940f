//! `platform_op`: firmware and power, for a privileged kernel that drives them. Radon's dom0 does
//! not, so every order is left out.

use guest_abi::errno::Errno;

use super::{Call, Reply};

/// `platform_op(block)`.
///
/// # Errors
/// `EPERM` for unprivileged callers, `ENOSYS` for everything else.
pub fn platform_op(call: &mut Call<'_>) -> Reply {
    call.require_privilege()?;
    Err(Errno::ENOSYS.into())
}
