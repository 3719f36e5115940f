//! The page that tells a guest where it is.

use alloc::vec::Vec;

use guest_abi::Mfn;
use guest_abi::layout::Layout;
use guest_abi::start_info::{MAX_GUEST_CMDLINE, StartFlags, StartInfo};
use guest_abi::zerocopy::IntoBytes;

use super::{BuildError, Rings};

/// Refuses a command line that has no room, before anything is made.
pub(super) fn check_command_line(line: &str) -> Result<(), BuildError> {
    let (length, limit) = (line.len(), MAX_GUEST_CMDLINE - 1);
    if length > limit {
        return Err(BuildError::CommandLineTooLong { length, limit });
    }
    Ok(())
}

/// The page's contents.
pub(super) fn contents(
    layout: &Layout,
    rings: &Rings,
    shared_info: Mfn,
    command_line: &str,
) -> Vec<u8> {
    let mut info = StartInfo::new();
    layout.describe(&mut info);
    info.flags |= StartFlags::VIRT_P2M_4TOOLS.bits();
    info.shared_info = shared_info.to_maddr();
    info.store_mfn = rings.store_frame;
    info.store_evtchn = rings.store_port;
    info.console_mfn = rings.console_frame;
    info.console_evtchn = rings.console_port;
    info.set_cmd_line(command_line.as_bytes());
    info.as_bytes().to_vec()
}
