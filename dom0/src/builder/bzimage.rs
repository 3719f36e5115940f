//! Linux's container: boot code for bare metal, then the packed kernel.

use super::identify::Kind;
use super::kernel::KernelError;

/// Offsets in a bzImage.
const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first version of the header that says where the payload lies.
const VERSION_WITH_PAYLOAD: u16 = 0x0208;

/// Whether a file has Linux's boot header.
pub(super) fn is_bzimage(file: &[u8]) -> bool {
    file.get(HEADER_MAGIC..)
        .is_some_and(|rest| rest.starts_with(b"HdrS"))
}

fn word<const N: usize>(file: &[u8], offset: usize) -> Result<[u8; N], KernelError> {
    let bytes = file.get(offset..).and_then(|rest| rest.first_chunk());
    bytes
        .copied()
        .ok_or(KernelError::Truncated("the boot header"))
}

fn long(file: &[u8], offset: usize) -> Result<usize, KernelError> {
    let number = u32::from_le_bytes(word(file, offset)?);
    usize::try_from(number).map_err(|_| KernelError::Corrupt("the boot header"))
}

/// The packed kernel in a bzImage.
pub(super) fn payload(file: &[u8]) -> Result<&[u8], KernelError> {
    if u16::from_le_bytes(word(file, VERSION)?) < VERSION_WITH_PAYLOAD {
        return Err(KernelError::NotCapable(Kind::OldLinux));
    }
    let [sectors] = word(file, SETUP_SECTS)?;
    let setup = (if sectors == 0 {
        4
    } else {
        usize::from(sectors)
    } + 1)
        * 512;
    let (offset, length) = (long(file, PAYLOAD_OFFSET)?, long(file, PAYLOAD_LENGTH)?);
    let start = setup.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(length));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(KernelError::Corrupt("the boot header"));
    };
    if length < 8 {
        return Err(KernelError::Corrupt("the boot header"));
    }
    file.get(start..end)
        .ok_or(KernelError::Truncated("the bzImage's payload"))
}

/// The unpacked length, which stands at the end of what is packed by the kernel's build and by
/// gzip. Elsewhere it is any number: a mere hint, not to be taken when it is absurd.
pub(super) fn expected_length(packed: &[u8]) -> usize {
    let stated = packed
        .last_chunk()
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let stated = usize::try_from(stated).unwrap_or(0);
    if stated > packed.len() && stated < packed.len().saturating_mul(20) {
        stated
    } else {
        0
    }
}
