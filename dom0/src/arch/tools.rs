//! The toolstack's hypercalls: `domctl`, `sysctl` and what they lead to.
//!
//! Payloads without pointers go through [`domctl`] and [`sysctl`], which take
//! only types marked [`Plain`]. Each call whose payload holds a pointer has a
//! function here that takes the buffer itself and fills the pointer in.

use guest_abi::{
    DomId, Errno, GuestVirtAddr, Hypercall, Mfn, VcpuId, call,
    domctl::{self, Bitmap, DomainInfo, Domctl, DomctlCommand, VcpuAffinity, VcpuContext},
    ids::DomIdArg,
    memory::{
        AcquireResource, E820Entry, E820Type, ForeignMemoryMap, MemoryMap, MemoryOp,
        MemoryReservation, RESOURCE_GRANT_TABLE_ID_SHARED, ResourceType,
    },
    mmu::{MmuextCommand, MmuextOp},
    sysctl::{
        self, CpuInfo, DebugKeys, GetCpuInfo, GetDomainInfoList, ReadConsole, Sysctl, SysctlCommand,
    },
    vcpu::VcpuGuestContext,
};

/// A payload without pointers.
///
/// # Safety
///
/// No call that carries it reads or writes memory of the caller beside the frame.
pub(crate) unsafe trait Plain {}

macro_rules! plain {
    ($($ty:ty),* $(,)?) => {$(
        // SAFETY: the struct holds numbers only.
        unsafe impl Plain for $ty {}
    )*};
}

plain! {
    domctl::CreateDomain,
    domctl::DomainInfo,
    domctl::MaxMem,
    domctl::MaxVcpus,
    domctl::VcpuState,
    sysctl::PhysInfo,
}

/// The address of something lent to a call.
fn lend<T: ?Sized>(value: &mut T) -> GuestVirtAddr {
    GuestVirtAddr::new(core::ptr::from_mut(value).cast::<u8>().expose_provenance() as u64)
}

/// Issues a `domctl`.
///
/// # Safety
///
/// Pointers in the payload lead to memory that the command may use as it does.
unsafe fn issue_domctl(frame: &mut Domctl) -> Result<(), Errno> {
    // SAFETY: the frame is lent exclusively; the rest is the caller's promise.
    unsafe { call::call(Hypercall::Domctl, [lend(frame).get()]) }.map(drop)
}

/// Issues a `sysctl`.
///
/// # Safety
///
/// As for [`issue_domctl`].
unsafe fn issue_sysctl(frame: &mut Sysctl) -> Result<(), Errno> {
    // SAFETY: the frame is lent exclusively; the rest is the caller's promise.
    unsafe { call::call(Hypercall::Sysctl, [lend(frame).get()]) }.map(drop)
}

/// A `domctl` with a plain payload; answers the payload as it comes back, and
/// the domain the frame names then.
pub(crate) fn domctl<P: Plain + domctl::Payload>(
    command: DomctlCommand,
    domain: DomId,
    payload: &P,
) -> Result<(DomIdArg, P), Errno> {
    let mut frame = Domctl::with(command, domain.into(), payload);
    // SAFETY: the payload is `Plain`.
    unsafe { issue_domctl(&mut frame) }?;
    Ok((frame.domain, frame.payload()))
}

/// A `domctl` without payload.
pub(crate) fn bare_domctl(command: DomctlCommand, domain: DomId) -> Result<(), Errno> {
    // SAFETY: there is no payload.
    unsafe { issue_domctl(&mut Domctl::new(command, domain.into())) }
}

/// Sets the whole context of a vCPU.
pub(crate) fn set_vcpu_context(
    domain: DomId,
    vcpu: VcpuId,
    context: &VcpuGuestContext,
) -> Result<(), Errno> {
    let ctxt = GuestVirtAddr::new(core::ptr::from_ref(context).expose_provenance() as u64);
    let payload = VcpuContext {
        vcpu,
        ctxt,
        ..VcpuContext::default()
    };
    let mut frame = Domctl::with(DomctlCommand::Setvcpucontext, domain.into(), &payload);
    // SAFETY: the command only reads `context`.
    unsafe { issue_domctl(&mut frame) }
}

/// The CPUs a vCPU may run on, into a bitmap.
pub(crate) fn vcpu_affinity(domain: DomId, vcpu: VcpuId, into: &mut [u8]) -> Result<(), Errno> {
    let nr_bits = u32::try_from(into.len() * 8).map_err(|_| Errno::EINVAL)?;
    let payload = VcpuAffinity {
        vcpu,
        flags: domctl::AffinityFlags::HARD.bits(),
        cpumap_hard: Bitmap {
            bitmap: lend(into),
            nr_bits,
            ..Bitmap::default()
        },
        ..VcpuAffinity::default()
    };
    let mut frame = Domctl::with(DomctlCommand::Getvcpuaffinity, domain.into(), &payload);
    // SAFETY: the command writes at most `nr_bits` bits at the bitmap, lent exclusively.
    unsafe { issue_domctl(&mut frame) }
}

/// A `sysctl` with a plain payload; answers the payload as it comes back.
pub(crate) fn sysctl<P: Plain + sysctl::Payload>(
    command: SysctlCommand,
    payload: &P,
) -> Result<P, Errno> {
    let mut frame = Sysctl::with(command, payload);
    // SAFETY: the payload is `Plain`.
    unsafe { issue_sysctl(&mut frame) }?;
    Ok(frame.payload())
}

/// Domains from `first` on; answers how many there were.
pub(crate) fn domain_info_list(first: DomId, into: &mut [DomainInfo]) -> Result<usize, Errno> {
    let payload = GetDomainInfoList {
        first_domain: first.into(),
        max_domains: u32::try_from(into.len()).map_err(|_| Errno::EINVAL)?,
        buffer: lend(into),
        ..GetDomainInfoList::default()
    };
    let mut frame = Sysctl::with(SysctlCommand::Getdomaininfolist, &payload);
    // SAFETY: the command writes at most `max_domains` records, lent exclusively.
    unsafe { issue_sysctl(&mut frame) }?;
    Ok((frame.payload::<GetDomainInfoList>().num_domains as usize).min(into.len()))
}

/// How long each CPU was idle; answers how many CPUs there are.
pub(crate) fn cpu_info(into: &mut [CpuInfo]) -> Result<usize, Errno> {
    let payload = GetCpuInfo {
        max_cpus: u32::try_from(into.len()).map_err(|_| Errno::EINVAL)?,
        info: lend(into),
        ..GetCpuInfo::default()
    };
    let mut frame = Sysctl::with(SysctlCommand::Getcpuinfo, &payload);
    // SAFETY: the command writes at most `max_cpus` records, lent exclusively.
    unsafe { issue_sysctl(&mut frame) }?;
    Ok((frame.payload::<GetCpuInfo>().nr_cpus as usize).min(into.len()))
}

/// Reads the hypervisor's log from `index` on; answers how many bytes came and
/// where to go on.
pub(crate) fn read_log(clear: bool, index: u32, into: &mut [u8]) -> Result<(usize, u32), Errno> {
    let payload = ReadConsole {
        clear: u8::from(clear),
        incremental: 1,
        index,
        buffer: lend(into),
        count: u32::try_from(into.len()).map_err(|_| Errno::EINVAL)?,
        ..ReadConsole::default()
    };
    let mut frame = Sysctl::with(SysctlCommand::Readconsole, &payload);
    // SAFETY: the command writes at most `count` bytes, lent exclusively.
    unsafe { issue_sysctl(&mut frame) }?;
    let payload = frame.payload::<ReadConsole>();
    Ok(((payload.count as usize).min(into.len()), payload.index))
}

/// Runs the hypervisor's debug functions behind these letters.
pub(crate) fn debug_keys(keys: &[u8]) -> Result<(), Errno> {
    let payload = DebugKeys {
        keys: GuestVirtAddr::new(keys.as_ptr().expose_provenance() as u64),
        nr_keys: u32::try_from(keys.len()).map_err(|_| Errno::E2BIG)?,
        ..DebugKeys::default()
    };
    let mut frame = Sysctl::with(SysctlCommand::DebugKeys, &payload);
    // SAFETY: the command only reads `keys`.
    unsafe { issue_sysctl(&mut frame) }
}

/// Gives a domain a memory map of one range of memory from zero on.
pub(crate) fn set_memory_map(domain: DomId, bytes: u64) -> Result<(), Errno> {
    let mut range = E820Entry {
        addr: 0,
        size: bytes,
        kind: E820Type::Ram.number(),
    };
    let mut map = ForeignMemoryMap {
        domid: domain.into(),
        map: MemoryMap {
            nr_entries: 1,
            buffer: lend(&mut range),
            ..MemoryMap::default()
        },
        ..ForeignMemoryMap::default()
    };
    let args = [
        u64::from(MemoryOp::SetMemoryMap.number()),
        lend(&mut map).get(),
    ];
    // SAFETY: the call only reads the map and its one range.
    unsafe { call::call(Hypercall::MemoryOp, args) }.map(drop)
}

/// Gives a domain a page for each pfn in `frames`, which becomes its frame.
pub(crate) fn populate(domain: DomId, frames: &mut [u64]) -> Result<usize, Errno> {
    let mut reservation = MemoryReservation {
        extent_start: lend(frames),
        nr_extents: frames.len() as u64,
        domid: domain.into(),
        ..MemoryReservation::default()
    };
    let args = [
        u64::from(MemoryOp::PopulatePhysmap.number()),
        lend(&mut reservation).get(),
    ];
    // SAFETY: the call reads and writes one number for each extent, lent exclusively.
    let done = unsafe { call::call(Hypercall::MemoryOp, args) }?;
    Ok(usize::try_from(done)
        .unwrap_or(usize::MAX)
        .min(frames.len()))
}

/// The first frames of a domain's grant table.
pub(crate) fn grant_table_frames(domain: DomId, into: &mut [u64]) -> Result<(), Errno> {
    let mut resource = AcquireResource {
        domid: domain.into(),
        kind: ResourceType::GrantTable.number(),
        id: RESOURCE_GRANT_TABLE_ID_SHARED,
        nr_frames: u32::try_from(into.len()).map_err(|_| Errno::E2BIG)?,
        frame_list: lend(into),
        ..AcquireResource::default()
    };
    let args = [
        u64::from(MemoryOp::AcquireResource.number()),
        lend(&mut resource).get(),
    ];
    // SAFETY: the call writes one number for each frame asked for, lent exclusively.
    unsafe { call::call(Hypercall::MemoryOp, args) }.map(drop)
}

/// Pins or unpins a page table of another domain.
pub(crate) fn pin(domain: DomId, command: MmuextCommand, table: Mfn) -> Result<(), Errno> {
    let pins = [
        MmuextCommand::PinL1Table,
        MmuextCommand::PinL2Table,
        MmuextCommand::PinL3Table,
        MmuextCommand::PinL4Table,
        MmuextCommand::UnpinTable,
    ];
    if !pins.contains(&command) {
        return Err(Errno::EINVAL);
    }
    let op = MmuextOp::on_frame(command, table);
    // SAFETY: pins change no mapping, and of another domain's tables at that.
    unsafe { frontends::arch::hypercall::mmuext_op(&[op], domain.get()) }
}
