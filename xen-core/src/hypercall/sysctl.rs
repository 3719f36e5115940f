//! `sysctl`: the toolstack's questions about the whole host.

use guest_abi::domctl::{DomainInfo, SchedulerId};
use guest_abi::errno::Errno;
use guest_abi::frame::{Mfn, PAGE_SIZE};
use guest_abi::ids::DomId;
use guest_abi::sysctl::{
    AvailHeap, CpuInfo, CpuTopology, CpuTopologyInfo, DebugKeys, GetCpuInfo, GetDomainInfoList,
    INTERFACE_VERSION, PhysCaps, PhysInfo, ReadConsole, SchedId, Sysctl, SysctlCommand,
};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop, domctl};
use crate::cpu::CpuMask;
use crate::domain::table;
use crate::{debug, mm, sched, time};

/// `sysctl(block)`.
///
/// # Errors
/// `EPERM` for unprivileged callers, `EACCES` for another interface version, `ENOSYS` for
/// questions that the core leaves out.
pub fn sysctl(call: &mut Call<'_>) -> Reply {
    call.require_privilege()?;
    let ptr = GuestPtr::<Sysctl>::new(call.args[0]);
    let mut block = ptr.copy_in()?;
    if block.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    answer(
        SysctlCommand::from_number(block.cmd).ok_or(Errno::ENOSYS)?,
        &mut block,
    )?;
    ptr.copy_out(&block)?;
    Ok(0)
}

fn answer(command: SysctlCommand, block: &mut Sysctl) -> Result<(), Stop> {
    use SysctlCommand as C;
    match command {
        C::Readconsole => read_console(block),
        C::Physinfo => phys_info(block),
        C::SchedId => {
            block.set_payload(&SchedId {
                sched_id: SchedulerId::Credit2.number(),
            });
            Ok(())
        }
        C::Getdomaininfolist => domain_list(block),
        C::DebugKeys => debug_keys(block),
        C::Getcpuinfo => cpu_info(block),
        C::Availheap => avail_heap(block),
        C::Cputopoinfo => topology(block),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `xl dmesg`: the log from byte `index` on (if incremental), cleared afterwards if so asked.
fn read_console(block: &mut Sysctl) -> Result<(), Stop> {
    let mut asked: ReadConsole = block.payload();
    let mut next = debug::log::start_of((asked.incremental != 0).then_some(asked.index));
    let out = GuestPtr::<u8>::new(asked.buffer.get());
    let mut chunk = [0; 512];
    let mut copied = 0;
    while copied < asked.count {
        let room = chunk.len().min((asked.count - copied) as usize);
        let got = debug::log::read_at(next, chunk.get_mut(..room).unwrap_or_default());
        if got == 0 {
            break;
        }
        out.at(copied.into())?
            .copy_out_slice(chunk.get(..got).unwrap_or_default())?;
        let got = u32::try_from(got).map_err(|_| Errno::EINVAL)?;
        copied += got;
        next = next.wrapping_add(got);
    }
    if asked.clear != 0 {
        debug::log::clear();
    }
    asked.index = next;
    asked.count = copied;
    block.set_payload(&asked);
    Ok(())
}

fn phys_info(block: &mut Sysctl) -> Result<(), Stop> {
    let memory = mm::totals();
    let cpus = sched::online().len();
    block.set_payload(&PhysInfo {
        threads_per_core: 1,
        cores_per_socket: cpus,
        nr_cpus: cpus,
        max_cpu_id: cpus.saturating_sub(1),
        nr_nodes: 1,
        cpu_khz: time::tsc_khz(),
        capabilities: (PhysCaps::PV | PhysCaps::GNTTAB_V1).bits(),
        total_pages: memory.total,
        free_pages: memory.free,
        max_mfn: Mfn::new(memory.frames.saturating_sub(1)),
        hw_cap: crate::trap::cpuid::host_capabilities(&crate::arch::machine::Hardware),
        ..PhysInfo::default()
    });
    Ok(())
}

/// Fills the caller's array with the domains from `first_domain` on.
fn domain_list(block: &mut Sysctl) -> Result<(), Stop> {
    let mut asked: GetDomainInfoList = block.payload();
    let out = GuestPtr::<DomainInfo>::new(asked.buffer.get());
    let mut next = DomId::new(asked.first_domain.get());
    asked.num_domains = 0;
    while asked.num_domains < asked.max_domains {
        let Some(domain) = table::at_or_after(next) else {
            break;
        };
        out.at(u64::from(asked.num_domains))?
            .copy_out(&domctl::describe(&domain))?;
        asked.num_domains += 1;
        next = DomId::new(domain.id.get().saturating_add(1));
    }
    block.set_payload(&asked);
    Ok(())
}

/// `xl debug-keys`: each key is a question answered in the log.
fn debug_keys(block: &Sysctl) -> Result<(), Stop> {
    let asked: DebugKeys = block.payload();
    let mut keys = [0; 16];
    let count = (asked.nr_keys as usize).min(keys.len());
    let keys = keys.get_mut(..count).ok_or(Errno::EINVAL)?;
    GuestPtr::<u8>::new(asked.keys.get()).copy_in_slice(keys)?;
    for key in keys {
        debug::keys::press(char::from(*key));
    }
    Ok(())
}

fn cpu_info(block: &mut Sysctl) -> Result<(), Stop> {
    let mut asked: GetCpuInfo = block.payload();
    let out = GuestPtr::<CpuInfo>::new(asked.info.get());
    let mut count = 0;
    for cpu in in_reach(asked.max_cpus).iter() {
        out.at(u64::from(count))?.copy_out(&CpuInfo {
            idletime: sched::idle_ns(cpu),
        })?;
        count += 1;
    }
    asked.nr_cpus = count;
    block.set_payload(&asked);
    Ok(())
}

/// The online CPUs, as many as the caller's array holds.
fn in_reach(room: u32) -> CpuMask {
    let bits = 1u64.checked_shl(room).map_or(u64::MAX, |bit| bit - 1);
    sched::online().and(CpuMask::from_bits(bits))
}

fn avail_heap(block: &mut Sysctl) -> Result<(), Stop> {
    let mut asked: AvailHeap = block.payload();
    asked.avail_bytes = mm::totals().free.saturating_mul(PAGE_SIZE as u64);
    block.set_payload(&asked);
    Ok(())
}

/// Every CPU is a core of its own on one socket: guests are not told of any other shape.
fn topology(block: &mut Sysctl) -> Result<(), Stop> {
    let mut asked: CpuTopologyInfo = block.payload();
    let online = sched::online();
    if !asked.cputopo.is_null() {
        let out = GuestPtr::<CpuTopology>::new(asked.cputopo.get());
        for (slot, cpu) in in_reach(asked.num_cpus).iter().enumerate() {
            let core = u32::try_from(cpu.index()).map_err(|_| Errno::EINVAL)?;
            out.at(slot as u64)?.copy_out(&CpuTopology {
                core,
                socket: 0,
                node: 0,
            })?;
        }
    }
    asked.num_cpus = online.len();
    block.set_payload(&asked);
    Ok(())
}
