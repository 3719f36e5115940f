//! The toolstack's view of the hypervisor.
//!
//! [`Hypervisor`] names each thing the toolstack asks for, once, in the ABI's
//! own types. In dom0 it is made of hypercalls (`Xen`); in tests it is a fake,
//! so that verbs and the domain builder run on a laptop.

#[cfg(test)]
pub(crate) mod fake;
#[cfg(target_os = "none")]
mod xen;

use alloc::{boxed::Box, string::String, vec::Vec};

use guest_abi::{
    DomId, Errno, Mfn, Port, VcpuId, Virq,
    domctl::{CreateDomain, DomainInfo, VcpuState},
    mmu::MmuextCommand,
    sched::ShutdownReason,
    sysctl::PhysInfo,
    vcpu::VcpuGuestContext,
};

#[cfg(target_os = "none")]
pub use xen::Xen;

use crate::executor::Runtime;

/// What the hypervisor tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    /// Version, the part before the point.
    pub major: u32,
    /// Version, the part behind it.
    pub minor: u32,
    /// What follows both, such as `.0`.
    pub extra: String,
    /// The source's revision.
    pub changeset: String,
    /// Guest types, separated by blanks: `xen-3.0-x86_64`.
    pub capabilities: String,
    /// The command line it was started with.
    pub command_line: String,
    /// The compiler.
    pub compiler: String,
    /// Who compiled it.
    pub compiled_by: String,
    /// Where it was compiled.
    pub compiled_on: String,
    /// When.
    pub compile_date: String,
    /// The lowest address of its own part of every address space.
    pub virt_start: u64,
}

/// Why foreign frames could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The first frame that was refused, by its place in the list.
    pub index: usize,
    /// The hypervisor's reason.
    pub errno: Errno,
}

/// Another domain's frames, mapped side by side until dropped.
///
/// The owner may change the contents at any time: read a value once, then look
/// at the copy.
#[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
pub trait ForeignMemory {
    /// Bytes mapped.
    fn len(&self) -> usize;

    /// Copies bytes out. Panics beyond the end.
    fn read(&self, offset: usize, to: &mut [u8]);

    /// Copies bytes in. Panics beyond the end.
    fn write(&self, offset: usize, from: &[u8]);

    /// Fills bytes with zeros. Panics beyond the end.
    fn zero(&self, offset: usize, len: usize);

    /// Reads an aligned word in one access: the other side may be writing it.
    fn load_u32(&self, offset: usize) -> u32;

    /// Writes an aligned word in one access: the other side may be reading it.
    fn store_u32(&self, offset: usize, value: u32);
}

/// What the toolstack asks of the hypervisor.
pub trait Hypervisor {
    /// What hypervisor this is.
    fn version(&self) -> VersionInfo;

    /// CPUs, memory, capabilities.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal; likewise for every call below.
    fn physinfo(&self) -> Result<PhysInfo, Errno>;

    /// All domains, by number.
    fn domains(&self) -> Result<Vec<DomainInfo>, Errno>;

    /// One domain; `ESRCH` if it does not exist.
    fn domain(&self, domain: DomId) -> Result<DomainInfo, Errno>;

    /// One vCPU's state.
    fn vcpu(&self, domain: DomId, vcpu: VcpuId) -> Result<VcpuState, Errno>;

    /// The CPUs a vCPU may run on: a bit each, lowest first.
    fn vcpu_affinity(&self, domain: DomId, vcpu: VcpuId) -> Result<Vec<u8>, Errno>;

    /// Nanoseconds each CPU was idle.
    fn idle_times(&self) -> Result<Vec<u64>, Errno>;

    /// The hypervisor's log, all that is kept of it; `clear` forgets it then.
    fn log(&self, clear: bool) -> Result<Vec<u8>, Errno>;

    /// Runs the hypervisor's debug functions behind these letters.
    fn debug_keys(&self, keys: &str) -> Result<(), Errno>;

    /// Makes an empty, paused domain with the number wanted, or any free one.
    fn create_domain(&self, wanted: Option<DomId>, config: &CreateDomain) -> Result<DomId, Errno>;

    /// Does a part of a domain's destruction; `EAGAIN` asks for another call.
    ///
    /// [`destroy`] calls until all is done.
    fn destroy_step(&self, domain: DomId) -> Result<(), Errno>;

    /// Stops all vCPUs of a domain.
    fn pause(&self, domain: DomId) -> Result<(), Errno>;

    /// Lets a domain's vCPUs run again.
    fn unpause(&self, domain: DomId) -> Result<(), Errno>;

    /// Ends a domain as if it had asked for it itself.
    fn remote_shutdown(&self, domain: DomId, reason: ShutdownReason) -> Result<(), Errno>;

    /// Sets how many vCPUs a domain may have. Only once, before it runs.
    fn set_max_vcpus(&self, domain: DomId, count: u32) -> Result<(), Errno>;

    /// Sets the most memory a domain may hold.
    fn set_max_memory(&self, domain: DomId, kib: u64) -> Result<(), Errno>;

    /// Tells a domain, before it runs, how far its memory may ever reach: it makes room for it.
    fn set_memory_map(&self, domain: DomId, kib: u64) -> Result<(), Errno>;

    /// Gives a domain memory: a page for each pfn in `frames`, which becomes
    /// the machine frame. Answers how many pages there were.
    fn populate(&self, domain: DomId, frames: &mut [u64]) -> Result<usize, Errno>;

    /// Sets the whole context of a vCPU.
    fn set_vcpu_context(
        &self,
        domain: DomId,
        vcpu: VcpuId,
        context: &VcpuGuestContext,
    ) -> Result<(), Errno>;

    /// Pins or unpins a page table of a domain.
    fn pin(&self, domain: DomId, command: MmuextCommand, table: Mfn) -> Result<(), Errno>;

    /// Maps frames of a domain for reading and writing.
    fn map(&self, domain: DomId, frames: &[Mfn]) -> Result<Box<dyn ForeignMemory>, MapError>;

    /// The first `count` frames of a domain's grant table.
    fn grant_table_frames(&self, domain: DomId, count: u32) -> Result<Vec<Mfn>, Errno>;

    /// Opens a port in `domain` that `remote` may bind.
    fn alloc_unbound(&self, domain: DomId, remote: DomId) -> Result<Port, Errno>;

    /// Binds a port of dom0's own to one that a domain opened for it.
    fn bind_interdomain(&self, domain: DomId, remote: Port) -> Result<Port, Errno>;

    /// Binds a port of dom0's own to an interrupt of the hypervisor's.
    fn bind_virq(&self, virq: Virq) -> Result<Port, Errno>;

    /// Sends an event through a port of dom0's own.
    fn notify(&self, port: Port);

    /// Closes a port of dom0's own.
    fn close(&self, port: Port);

    /// Powers the machine off; on the real one this does not return.
    fn power_off(&self);
}

/// Destroys a domain, all of it, letting other tasks run between the steps.
///
/// # Errors
///
/// The hypervisor's refusal.
pub async fn destroy(
    hypervisor: &dyn Hypervisor,
    runtime: &Runtime,
    domain: DomId,
) -> Result<(), Errno> {
    loop {
        match hypervisor.destroy_step(domain) {
            Err(Errno::EAGAIN | Errno::ERESTART) => runtime.yield_now().await,
            outcome => return outcome,
        }
    }
}
