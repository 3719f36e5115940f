//! What a guest and dom0 share from the start: two rings, their ports, two grants, one page.

use guest_abi::grant_table::GrantEntryV1;
use guest_abi::layout::Layout;
use guest_abi::shared_info::LEGACY_MAX_VCPUS;
use guest_abi::vcpu::VcpuInfo;
use guest_abi::zerocopy::IntoBytes;
use guest_abi::{DomId, GrantRef, Mfn, Port};

use super::BuildError;
use super::memory::GuestMemory;

/// A grant's type: the other domain may map the page.
const PERMIT_ACCESS: u16 = 1;

/// A domain's two rings, as both sides name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// The xenstore page.
    pub store_frame: Mfn,
    /// The domain's end of the xenstore event channel.
    pub store_port: Port,
    /// The console page.
    pub console_frame: Mfn,
    /// The domain's end of the console's event channel.
    pub console_port: Port,
}

/// Opens the event channels. xenstore's comes first: it is port 1 in every domU.
pub(super) fn open(memory: &GuestMemory<'_>, layout: &Layout) -> Result<Rings, BuildError> {
    let port = || {
        let opened = memory.hypervisor.alloc_unbound(memory.domain, DomId::DOM0);
        opened.map_err(BuildError::refused("an event channel"))
    };
    // The plan was asked for both pages.
    let store = layout.xenstore.ok_or(BuildError::Dom0Memory)?;
    let console = layout.console.ok_or(BuildError::Dom0Memory)?;
    Ok(Rings {
        store_frame: memory.frame(store)?,
        store_port: port()?,
        console_frame: memory.frame(console)?,
        console_port: port()?,
    })
}

/// Grants both rings to dom0 in the domain's name, as a backend in another domain would need.
pub(super) fn seed_grants(memory: &GuestMemory<'_>, rings: &Rings) -> Result<(), BuildError> {
    let frames = memory
        .hypervisor
        .grant_table_frames(memory.domain, 1)
        .map_err(BuildError::refused("the domain's grant table"))?;
    let table = memory.map(&frames)?;
    for (reference, frame) in [
        (GrantRef::CONSOLE, rings.console_frame),
        (GrantRef::XENSTORE, rings.store_frame),
    ] {
        // Version 1 of the table has 32 bits for a frame.
        let Ok(frame) = u32::try_from(frame.get()) else {
            continue;
        };
        let entry = GrantEntryV1 {
            flags: PERMIT_ACCESS,
            domid: DomId::DOM0.into(),
            frame,
        };
        let offset = usize::try_from(reference.get()).unwrap_or(0) * size_of::<GrantEntryV1>();
        table.write(offset, entry.as_bytes());
    }
    Ok(())
}

/// Masks event delivery on every vCPU: a guest starts with its interrupts off. Returns the
/// page's frame.
pub(super) fn prepare_shared_info(memory: &GuestMemory<'_>) -> Result<Mfn, BuildError> {
    let info = memory
        .hypervisor
        .domain(memory.domain)
        .map_err(BuildError::refused("getdomaininfo"))?;
    let page = memory.map(&[info.shared_info_frame])?;
    for vcpu in 0..LEGACY_MAX_VCPUS {
        let slot = vcpu * size_of::<VcpuInfo>();
        page.write(
            slot + core::mem::offset_of!(VcpuInfo, evtchn_upcall_mask),
            &[1],
        );
    }
    Ok(info.shared_info_frame)
}
