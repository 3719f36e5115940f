//! `vm_assist`: help that a domain asks for.

use guest_abi::errno::Errno;
use guest_abi::vm_assist::{AssistCommand, AssistType};

use super::{Call, Reply};

/// Turns one kind of help on or off for the whole domain.
pub fn vm_assist(call: &mut Call<'_>) -> Reply {
    let [command, kind, ..] = call.args;
    let command = AssistCommand::from_register(command).ok_or(Errno::ENOSYS)?;
    let kind = AssistType::from_register(kind).ok_or(Errno::EINVAL)?;
    if !is_offered(kind) {
        return Err(Errno::EINVAL.into());
    }
    call.domain()
        .set_assist(kind.number(), command == AssistCommand::Enable);
    Ok(0)
}

/// The two of 32-bit guests mean nothing here and may be asked for. IOPL stays virtual, and the
/// machine-to-phys table is the same for both modes of a guest.
const fn is_offered(kind: AssistType) -> bool {
    match kind {
        AssistType::FourGbSegments
        | AssistType::FourGbSegmentsNotify
        | AssistType::WritablePagetables
        | AssistType::PaeExtendedCr3
        | AssistType::RunstateUpdateFlag => true,
        AssistType::ArchitecturalIopl | AssistType::M2pStrict => false,
    }
}
