//! The real hypervisor: every question is a hypercall.

use alloc::{boxed::Box, string::String, vec, vec::Vec};

use frontends::{
    arch::hypercall,
    events,
    window::{Access, Mapping},
};
use guest_abi::{
    DomId, Errno, Hypercall, Mfn, Port, VcpuId, Virq,
    domctl::{CreateDomain, DomainInfo, DomctlCommand, MaxMem, MaxVcpus, VcpuState},
    ids::DomIdArg,
    mmu::MmuextCommand,
    sched::{RemoteShutdown, SchedOp, ShutdownReason},
    sysctl::{CpuInfo, PhysInfo, SysctlCommand},
    vcpu::VcpuGuestContext,
    version::{
        Capabilities, Changeset, Commandline, CompileInfo, Extraversion, PlatformParameters,
        VersionOp,
    },
};

use super::{ForeignMemory, Hypervisor, MapError, VersionInfo};
use crate::arch::tools;

/// CPUs that affinity bitmaps and idle times have room for.
const MAX_CPUS: usize = 256;
/// Domains asked for at a time.
const DOMAINS_AT_A_TIME: usize = 64;
/// Bytes of the log read at a time.
const LOG_CHUNK: usize = 16 * 1024;

/// The hypervisor that dom0 runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xen;

/// Asks `xen_version` to fill in a struct; zeros if it refuses.
fn version_part<T: hypercall::Plain + Zero>(op: VersionOp) -> T {
    let mut part = T::ZERO;
    match hypercall::command(Hypercall::XenVersion, op.number(), &mut part) {
        Ok(_) => part,
        Err(_) => T::ZERO,
    }
}

/// A value to start from.
trait Zero {
    const ZERO: Self;
}

impl<const N: usize> Zero for [u8; N] {
    const ZERO: Self = [0; N];
}

/// Text up to its zero.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).trim().into()
}

impl Hypervisor for Xen {
    fn version(&self) -> VersionInfo {
        let version = hypercall::version();
        let mut compile = CompileInfo::default();
        let mut platform = PlatformParameters::default();
        // What is refused stays empty.
        let _ = hypercall::command(
            Hypercall::XenVersion,
            VersionOp::CompileInfo.number(),
            &mut compile,
        );
        let _ = hypercall::command(
            Hypercall::XenVersion,
            VersionOp::PlatformParameters.number(),
            &mut platform,
        );
        VersionInfo {
            major: version >> 16,
            minor: version & 0xffff,
            extra: text(&version_part::<Extraversion>(VersionOp::Extraversion)),
            changeset: text(&version_part::<Changeset>(VersionOp::Changeset)),
            capabilities: text(&version_part::<Capabilities>(VersionOp::Capabilities)),
            command_line: text(&version_part::<Commandline>(VersionOp::Commandline)),
            compiler: text(&compile.compiler),
            compiled_by: text(&compile.compile_by),
            compiled_on: text(&compile.compile_domain),
            compile_date: text(&compile.compile_date),
            virt_start: platform.virt_start,
        }
    }

    fn physinfo(&self) -> Result<PhysInfo, Errno> {
        tools::sysctl(SysctlCommand::Physinfo, &PhysInfo::default())
    }

    fn domains(&self) -> Result<Vec<DomainInfo>, Errno> {
        let mut all = Vec::new();
        let mut first = DomId::DOM0;
        loop {
            let mut some = vec![DomainInfo::default(); DOMAINS_AT_A_TIME];
            let count = tools::domain_info_list(first, &mut some)?;
            all.extend_from_slice(&some[..count]);
            match some.last() {
                Some(last) if count == some.len() => {
                    first = DomId::new(last.domain.get().saturating_add(1));
                }
                _ => return Ok(all),
            }
        }
    }

    fn domain(&self, domain: DomId) -> Result<DomainInfo, Errno> {
        let (_, info) =
            tools::domctl(DomctlCommand::Getdomaininfo, domain, &DomainInfo::default())?;
        // Some versions answer with the next domain there is.
        if info.domain == domain.into() {
            Ok(info)
        } else {
            Err(Errno::ESRCH)
        }
    }

    fn vcpu(&self, domain: DomId, vcpu: VcpuId) -> Result<VcpuState, Errno> {
        let asked = VcpuState {
            vcpu,
            ..VcpuState::default()
        };
        tools::domctl(DomctlCommand::Getvcpuinfo, domain, &asked).map(|(_, state)| state)
    }

    fn vcpu_affinity(&self, domain: DomId, vcpu: VcpuId) -> Result<Vec<u8>, Errno> {
        let mut map = vec![0; MAX_CPUS / 8];
        tools::vcpu_affinity(domain, vcpu, &mut map)?;
        Ok(map)
    }

    fn idle_times(&self) -> Result<Vec<u64>, Errno> {
        let mut info = vec![CpuInfo::default(); MAX_CPUS];
        let count = tools::cpu_info(&mut info)?;
        Ok(info[..count].iter().map(|cpu| cpu.idletime).collect())
    }

    fn log(&self, clear: bool) -> Result<Vec<u8>, Errno> {
        let mut log = Vec::new();
        let mut index = 0;
        loop {
            let mut chunk = vec![0; LOG_CHUNK];
            let (count, next) = tools::read_log(false, index, &mut chunk)?;
            log.extend_from_slice(&chunk[..count]);
            index = next;
            if count == 0 {
                break;
            }
        }
        if clear {
            tools::read_log(true, index, &mut [0; 1])?;
        }
        Ok(log)
    }

    fn debug_keys(&self, keys: &str) -> Result<(), Errno> {
        tools::debug_keys(keys.as_bytes())
    }

    fn create_domain(&self, wanted: Option<DomId>, config: &CreateDomain) -> Result<DomId, Errno> {
        let wanted = wanted.unwrap_or(DomId::DOM0);
        let (made, _) = tools::domctl(DomctlCommand::Createdomain, wanted, config)?;
        Ok(made.resolve(DomId::DOM0))
    }

    fn destroy_step(&self, domain: DomId) -> Result<(), Errno> {
        tools::bare_domctl(DomctlCommand::Destroydomain, domain)
    }

    fn pause(&self, domain: DomId) -> Result<(), Errno> {
        tools::bare_domctl(DomctlCommand::Pausedomain, domain)
    }

    fn unpause(&self, domain: DomId) -> Result<(), Errno> {
        tools::bare_domctl(DomctlCommand::Unpausedomain, domain)
    }

    fn remote_shutdown(&self, domain: DomId, reason: ShutdownReason) -> Result<(), Errno> {
        let mut order = RemoteShutdown {
            domain_id: domain.into(),
            reason: reason.number(),
            ..RemoteShutdown::default()
        };
        let op = SchedOp::RemoteShutdown.number();
        hypercall::command(Hypercall::SchedOp, op, &mut order).map(drop)
    }

    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno> {
        tools::domctl(DomctlCommand::MaxVcpus, domain, &MaxVcpus { max: count }).map(drop)
    }

    fn set_max_memory(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        tools::domctl(DomctlCommand::MaxMem, domain, &MaxMem { max_memkb: kib }).map(drop)
    }

    fn set_memory_map(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        tools::set_memory_map(domain, kib << 10)
    }

    fn populate(&self, domain: DomId, frames: &mut [u64]) -> Result<usize, Errno> {
        tools::populate(domain, frames)
    }

    fn set_vcpu_context(
        &self,
        domain: DomId,
        vcpu: VcpuId,
        context: &VcpuGuestContext,
    ) -> Result<(), Errno> {
        tools::set_vcpu_context(domain, vcpu, context)
    }

    fn pin(&self, domain: DomId, command: MmuextCommand, table: Mfn) -> Result<(), Errno> {
        tools::pin(domain, command, table)
    }

    fn map(&self, domain: DomId, frames: &[Mfn]) -> Result<Box<dyn ForeignMemory>, MapError> {
        match Mapping::foreign(domain, frames, Access::ReadWrite) {
            Ok(mapping) => Ok(Box::new(Foreign(mapping))),
            Err(error) => Err(MapError {
                index: error.index,
                errno: error.errno,
            }),
        }
    }

    fn grant_table_frames(&self, domain: DomId, count: u32) -> Result<Vec<Mfn>, Errno> {
        let mut frames = vec![0; count as usize];
        tools::grant_table_frames(domain, &mut frames)?;
        Ok(frames.into_iter().map(Mfn::new).collect())
    }

    fn alloc_unbound(&self, domain: DomId, remote: DomId) -> Result<Port, Errno> {
        events::alloc_unbound_for(DomIdArg::from(domain), remote)
    }

    fn bind_interdomain(&self, domain: DomId, remote: Port) -> Result<Port, Errno> {
        events::bind_interdomain(domain, remote)
    }

    fn bind_virq(&self, virq: Virq) -> Result<Port, Errno> {
        events::bind_virq(virq, VcpuId::new(0))
    }

    fn notify(&self, port: Port) {
        // Refused only for a port that is not open: then nobody waits for it.
        let _ = events::send(port);
    }

    fn close(&self, port: Port) {
        // Refused only for a port that is not open.
        let _ = events::close(port);
    }

    fn power_off(&self) {
        frontends::sched::shutdown(ShutdownReason::Poweroff)
    }
}

/// A foreign mapping, behind the trait.
struct Foreign(Mapping);

impl ForeignMemory for Foreign {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        self.0.read(offset, to);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.0.write(offset, from);
    }

    fn zero(&self, offset: usize, len: usize) {
        self.0.fill(offset, len, 0);
    }

    fn load_u32(&self, offset: usize) -> u32 {
        self.0
            .u32(offset)
            .load(core::sync::atomic::Ordering::Acquire)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.0
            .u32(offset)
            .store(value, core::sync::atomic::Ordering::Release);
    }
}
