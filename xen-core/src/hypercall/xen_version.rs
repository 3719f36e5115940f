//! `xen_version`: what this is and what it can do.
//!
//! Guests and tools decide by these answers, so they are Xen 4.17's where they decide anything.

use guest_abi::errno::Errno;
use guest_abi::version::{
    Capabilities, Changeset, Commandline, CompileInfo, Extraversion, FeatureInfo,
    PlatformParameters, VersionOp, XenFeatures,
};
use guest_abi::vm_assist::AssistType;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply};
use crate::domain::Domain;

/// 4.17.
const VERSION: i64 = 4 << 16 | 17;
const EXTRAVERSION: &str = ".radon";
const CAPABILITIES: &str = "xen-3.0-x86_64 ";
const CHANGESET: &str = concat!("radon-", env!("CARGO_PKG_VERSION"));
const COMPILER: &str = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"));
/// Where the core's part of every address space begins.
const VIRT_START: u64 = 0xffff_8000_0000_0000;
const PAGE_SIZE: i64 = guest_abi::PAGE_SIZE as i64;

/// Dispatches by the command in the first argument; the second leads to where the answer goes.
///
/// # Errors
/// `ENOSYS` for an unknown command, `ENODATA` for the build id, `EFAULT` as usual.
pub fn xen_version(call: &mut Call<'_>) -> Reply {
    let [command, argument, ..] = call.args;
    match VersionOp::from_register(command).ok_or(Errno::ENOSYS)? {
        VersionOp::Version => return Ok(VERSION),
        VersionOp::Pagesize if argument == 0 => return Ok(PAGE_SIZE),
        VersionOp::Pagesize => return Err(Errno::EINVAL.into()),
        VersionOp::Extraversion => answer::<Extraversion>(argument, text(EXTRAVERSION))?,
        VersionOp::CompileInfo => answer(argument, compile_info())?,
        VersionOp::Capabilities => answer::<Capabilities>(argument, text(CAPABILITIES))?,
        VersionOp::Changeset => answer::<Changeset>(argument, text(CHANGESET))?,
        VersionOp::PlatformParameters => {
            let virt_start = VIRT_START;
            answer(argument, PlatformParameters { virt_start })?;
        }
        VersionOp::GetFeatures => get_features(call.domain(), GuestPtr::new(argument))?,
        VersionOp::GuestHandle => answer(argument, *call.domain().handle.lock())?,
        VersionOp::Commandline => commandline(call.domain(), argument)?,
        VersionOp::BuildId => return Err(Errno::ENODATA.into()),
    }
    Ok(0)
}

fn answer<T: FromBytes + IntoBytes + Immutable>(address: u64, value: T) -> Result<(), Errno> {
    GuestPtr::new(address).copy_out(&value)
}

fn get_features(domain: &Domain, argument: GuestPtr<FeatureInfo>) -> Result<(), Errno> {
    let mut info = argument.copy_in()?;
    if info.submap_idx != 0 {
        return Err(Errno::EINVAL);
    }
    info.submap = features(domain.privileged, has_high_roots(domain)).bits();
    argument.copy_out(&info)
}

fn has_high_roots(domain: &Domain) -> bool {
    domain.assists(AssistType::PaeExtendedCr3.number())
}

/// The features of a domain: what Xen offers a 64-bit PV guest.
fn features(privileged: bool, high_roots: bool) -> XenFeatures {
    let mut features = XenFeatures::MMU_PT_UPDATE_PRESERVE_AD
        | XenFeatures::HIGHMEM_ASSIST
        | XenFeatures::GNTTAB_MAP_AVAIL_BITS
        | XenFeatures::MEMORY_OP_VNODE_SUPPORTED
        | XenFeatures::DIRECT_MAPPED;
    features.set(XenFeatures::DOM0, privileged);
    features.set(XenFeatures::PAE_PGDIR_ABOVE_4GB, high_roots);
    features
}

/// The core's own command line concerns nobody but the toolstack's domain.
fn commandline(domain: &Domain, address: u64) -> Result<(), Errno> {
    let line = if domain.privileged {
        &crate::boot::machine().loader.command_line
    } else {
        "<denied>"
    };
    answer::<Commandline>(address, text(line))
}

fn compile_info() -> CompileInfo {
    CompileInfo {
        compiler: text(COMPILER),
        compile_by: text("radon"),
        compile_domain: text(""),
        compile_date: text(""),
    }
}

/// `text` in a fixed space, cut if need be, and always ended by a zero.
fn text<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (slot, byte) in bytes.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *slot = byte;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{features, text};

    #[test]
    fn a_guest_sees_the_features_that_xen_offers_it() {
        assert_eq!(features(false, false).bits(), 0x0002_20e0);
        assert_eq!(features(true, false).bits(), 0x0002_28e0);
        assert_eq!(features(false, true).bits(), 0x0002_20f0);
    }

    #[test]
    fn text_is_cut_to_leave_room_for_its_end() {
        assert_eq!(text::<4>("radon"), *b"rad\0");
        assert_eq!(text::<4>(""), [0; 4]);
    }
}
