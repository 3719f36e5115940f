//! A domU from a kernel image: made, filled and ready to run, or not there at all.
//!
//! ```text
//!   kernel file ─▶ kernel (unpack, ELF, notes) ─┐
//!   ramdisk, size, command line ────────────────┴▶ layout (pure plan)
//!        ─▶ create, populate (memory) ─▶ write kernel, ramdisk, p2m, page tables, start info
//!        ─▶ rings, grants, shared info ─▶ pin the root ─▶ first vCPU's registers
//! ```
//!
//! Rules kept: everything the user can get wrong is found before the domain exists, as far as it
//! can be; work goes in steps of a mebibyte with other tasks between them; after any error the
//! domain is destroyed, so that nothing is left behind.

mod bzimage;
mod context;
pub mod decompress;
mod error;
mod hypercall_page;
pub mod identify;
pub mod kernel;
mod memory;
mod page_tables;
pub mod ramdisk;
mod rings;
mod start_info;
#[cfg(test)]
pub(crate) mod tests;

pub use error::BuildError;
pub use kernel::{Kernel, KernelError};
pub use rings::Rings;

use alloc::string::String;

use guest_abi::layout::{self, Layout, Ramdisk, Request};
use guest_abi::mmu::MmuextCommand;
use guest_abi::version::DomainHandle;
use guest_abi::{DomId, VcpuId, domctl::CreateDomain};

use crate::executor::Runtime;
use crate::hypervisor::{Hypervisor, destroy};
use memory::GuestMemory;

/// Event channels a domain may open: the two-level ABI's.
const MAX_EVENT_PORT: u32 = 4095;
/// Frames of a domain's grant table.
const MAX_GRANT_FRAMES: i32 = 64;
/// Pages a domain may hold above its size, as Xen's tools allow.
const SLACK_KIB: u64 = 1024;

/// What to build.
#[derive(Debug)]
pub struct Blueprint<'a> {
    /// The kernel.
    pub kernel: &'a Kernel<'a>,
    /// The ramdisk's bytes.
    pub ramdisk: Option<&'a [u8]>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Memory at start, in KiB.
    pub memory_kib: u64,
    /// The most memory it may ever hold, in KiB.
    pub max_memory_kib: u64,
    /// How many vCPUs it may have.
    pub vcpus: u32,
    /// Its UUID.
    pub uuid: DomainHandle,
}

/// A domain that is ready to run, and paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// The domain.
    pub domain: DomId,
    /// Where its xenstore and console rings are.
    pub rings: Rings,
}

/// Builds a domain; it is paused afterwards.
///
/// # Errors
///
/// Why it can't be. No domain is left then.
pub async fn build(
    hypervisor: &dyn Hypervisor,
    runtime: &Runtime,
    blueprint: &Blueprint<'_>,
) -> Result<Built, BuildError> {
    check_memory(hypervisor, blueprint.memory_kib)?;
    start_info::check_command_line(blueprint.command_line)?;
    let layout = plan(blueprint)?;

    let domain = hypervisor
        .create_domain(None, &configuration(blueprint))
        .map_err(BuildError::refused("createdomain"))?;
    match fill(hypervisor, runtime, blueprint, &layout, domain).await {
        Ok(rings) => Ok(Built { domain, rings }),
        Err(error) => {
            if let Err(errno) = destroy(hypervisor, runtime, domain).await {
                log::error!("domain {domain} could not be destroyed: {}", errno.name());
            }
            Err(error)
        }
    }
}

fn plan(blueprint: &Blueprint<'_>) -> Result<Layout, BuildError> {
    let kernel = blueprint.kernel;
    let ramdisk = blueprint.ramdisk.map(|bytes| Ramdisk {
        len: bytes.len() as u64,
        mapped: !kernel.mod_start_pfn,
    });
    let request = Request {
        virt_base: kernel.virt_base,
        kernel_start: kernel.start,
        kernel_end: kernel.end,
        init_p2m: kernel.init_p2m,
        nr_pages: blueprint.memory_kib / 4,
        ramdisk,
        ring_pages: true,
    };
    layout::plan(&request).map_err(BuildError::Layout)
}

fn check_memory(hypervisor: &dyn Hypervisor, memory_kib: u64) -> Result<(), BuildError> {
    let info = hypervisor
        .physinfo()
        .map_err(BuildError::refused("physinfo"))?;
    let free_kib = info.free_pages.saturating_mul(4);
    if memory_kib > free_kib {
        return Err(BuildError::NotEnoughMemory {
            free_kib,
            asked_kib: memory_kib,
        });
    }
    Ok(())
}

fn configuration(blueprint: &Blueprint<'_>) -> CreateDomain {
    CreateDomain {
        handle: blueprint.uuid,
        max_vcpus: blueprint.vcpus,
        max_evtchn_port: MAX_EVENT_PORT,
        max_grant_frames: MAX_GRANT_FRAMES,
        max_maptrack_frames: -1,
        grant_opts: 1,
        ..CreateDomain::default()
    }
}

/// Gives a new domain its memory and all that is in it.
async fn fill(
    hypervisor: &dyn Hypervisor,
    runtime: &Runtime,
    blueprint: &Blueprint<'_>,
    layout: &Layout,
    domain: DomId,
) -> Result<Rings, BuildError> {
    let kernel = blueprint.kernel;
    // Together with the domain on hypervisors that want it so; twice the same is harmless.
    hypervisor
        .set_max_vcpus(domain, blueprint.vcpus)
        .map_err(BuildError::refused("max_vcpus"))?;
    hypervisor
        .set_max_memory(domain, blueprint.max_memory_kib + SLACK_KIB)
        .map_err(BuildError::refused("max_mem"))?;
    hypervisor
        .set_memory_map(domain, blueprint.max_memory_kib)
        .map_err(BuildError::refused("set_memory_map"))?;

    let memory =
        GuestMemory::populate(hypervisor, runtime, domain, layout.request.nr_pages).await?;
    for segment in &kernel.segments {
        let bytes = kernel.image.get(segment.bytes.clone()).unwrap_or_default();
        memory.write(segment.address, bytes).await?;
    }
    if let Some(page) = kernel.hypercall_page {
        memory.write(page, &hypercall_page::contents()).await?;
    }
    if let (Some(bytes), Some(region)) = (blueprint.ramdisk, layout.ramdisk) {
        memory.write(memory::address(region.first), bytes).await?;
    }
    memory.write_p2m(layout).await?;
    page_tables::write(&memory, layout).await?;

    let rings = rings::open(&memory, layout)?;
    rings::seed_grants(&memory, &rings)?;
    let shared_info = rings::prepare_shared_info(&memory)?;
    let info = start_info::contents(layout, &rings, shared_info, blueprint.command_line);
    memory
        .write(memory::address(layout.start_info), &info)
        .await?;

    let root = memory.frame(layout.root)?;
    hypervisor
        .pin(domain, MmuextCommand::PinL4Table, root)
        .map_err(BuildError::refused("pinning the page tables"))?;
    hypervisor
        .set_vcpu_context(
            domain,
            VcpuId::new(0),
            &context::first(kernel, layout, root),
        )
        .map_err(BuildError::refused("setvcpucontext"))?;
    Ok(rings)
}

/// A UUID as text.
#[must_use]
pub fn uuid_text(uuid: &DomainHandle) -> String {
    let mut text = String::new();
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&alloc::format!("{byte:02x}"));
    }
    text
}
