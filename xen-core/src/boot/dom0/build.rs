//! The builder, step by step.
//!
//! The steps are those of any domain builder: plan the layout, give the domain its frames, copy
//! the kernel, write p2m list, page tables and start info, set the first vCPU's registers. The
//! page tables then go through the same validation as any guest's.

use core::fmt;

use alloc::boxed::Box;
use guest_abi::errno::Errno;
use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn, PAGE_SIZE, Pfn};
use guest_abi::ids::{DomId, VcpuId};
use guest_abi::layout::{self, Layout, LayoutError, Ramdisk, Region, Request};
use guest_abi::start_info::{StartFlags, StartInfo};
use guest_abi::vcpu::{ContextFlags, VcpuGuestContext};
use guest_abi::zerocopy::{FromZeros, IntoBytes};

use super::BuildingDom0;
use super::kernel::{ImageError, Kernel};
use crate::arch::direct_map;
use crate::domain::{Config, Domain, DomainRef, VcpuRef, table};
use crate::hypercall::Stop;
use crate::mm::access::{CALL_BUDGET, with_space};
use crate::mm::pagetable::{Budget, entry::Level};
use crate::{event, grant, mm, sched, trap};

/// What dom0 is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its kernel, an ELF image.
    pub kernel: &'a [u8],
    /// Its command line.
    pub command_line: &'a str,
    /// Its ramdisk.
    pub ramdisk: Option<&'a [u8]>,
    /// Its memory, in pages.
    pub pages: u64,
    /// Its vCPUs.
    pub vcpus: u32,
}

/// Why dom0 could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The kernel will not do.
    Image(ImageError),
    /// The memory will not do.
    Layout(LayoutError),
    /// Out of memory, or the core refused something.
    Refused(&'static str, Errno),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Layout(error) => write!(f, "{error}: set dom0_mem= on the core's command line"),
            Self::Refused(step, errno) => write!(f, "{step}: {errno:?}"),
        }
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<LayoutError> for BuildError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

/// Builds dom0 and leaves it ready to run, still paused.
///
/// # Errors
/// See [`BuildError`]; the host has no use without dom0, so nothing is taken back.
pub fn build(parts: &Parts<'_>) -> Result<DomainRef, BuildError> {
    let kernel = Kernel::parse(parts.kernel)?;
    let layout = plan(parts, &kernel)?;
    let domain = create(parts)?;
    let frames = Frames::allocate(&domain, parts.pages)?;
    frames.zero(layout.end)?;
    load_kernel(&kernel, &frames)?;
    if let (Some(bytes), Some(region)) = (parts.ramdisk, layout.ramdisk) {
        frames.write(region.first.to_paddr(), bytes)?;
    }
    write_p2m(&layout, &frames)?;
    write_page_tables(&layout, &frames)?;
    write_start_info(parts, &domain, &layout, &frames)?;
    start_vcpu(&domain, &kernel, &layout, &frames)?;
    Ok(domain)
}

fn plan(parts: &Parts<'_>, kernel: &Kernel<'_>) -> Result<Layout, BuildError> {
    let (kernel_start, kernel_end) = kernel.span()?;
    let ramdisk = parts.ramdisk.map(|bytes| Ramdisk {
        len: bytes.len() as u64,
        mapped: !kernel.wishes.ramdisk_by_pfn,
    });
    Ok(layout::plan(&Request {
        virt_base: kernel.wishes.virt_base.unwrap_or(GuestVirtAddr::NULL),
        kernel_start,
        kernel_end,
        init_p2m: kernel.wishes.init_p2m,
        nr_pages: parts.pages,
        ramdisk,
        ring_pages: false,
    })?)
}

fn create(parts: &Parts<'_>) -> Result<DomainRef, BuildError> {
    let config = Config {
        id: DomId::DOM0,
        privileged: true,
        handle: [0; 16],
        max_vcpus: parts.vcpus,
        max_grant_frames: grant::DEFAULT_MAX_FRAMES,
        max_maptrack_frames: grant::DEFAULT_MAX_MAPTRACK_FRAMES,
        max_event_port: event::MAX_PORT,
    };
    let refused = |errno| BuildError::Refused("creating dom0", errno);
    let domain = Domain::create(&config).map_err(refused)?;
    domain.memory.set_max_pages(parts.pages);
    table::insert(domain.clone()).map_err(refused)?;
    Ok(domain)
}

/// dom0's frames by pfn, as runs: the allocator gives long ones, so the list is short.
struct Frames {
    runs: alloc::vec::Vec<Run>,
}

/// `pages` frames from `mfn` on, which are the pages from `pfn` on.
#[derive(Clone, Copy)]
struct Run {
    pfn: u64,
    mfn: Mfn,
    pages: u64,
}

impl Frames {
    /// Gives the domain `pages` frames, not zeroed, in runs as long as can be had: dom0's devices
    /// like memory that is contiguous.
    fn allocate(domain: &DomainRef, pages: u64) -> Result<Self, BuildError> {
        let proof = BuildingDom0::new();
        let mut runs = alloc::vec::Vec::new();
        let (mut pfn, mut order) = (0, mm::frame_alloc::MAX_ORDER);
        while pfn < pages {
            while 1 << order > pages - pfn {
                order -= 1;
            }
            match mm::give_frames_as_they_are(domain, order, Pfn::new(pfn), &proof) {
                Ok(mfn) => {
                    runs.push(Run {
                        pfn,
                        mfn,
                        pages: 1 << order,
                    });
                    pfn += 1 << order;
                }
                Err(_) if order > 0 => order -= 1,
                Err(errno) => return Err(BuildError::Refused("allocating dom0's memory", errno)),
            }
        }
        Ok(Self { runs })
    }

    /// Zeroes the pages below `end`, which is all that has a purpose at the start: the kernel with
    /// its bss, page tables, start info, stack. What lies above is free memory to the kernel.
    fn zero(&self, end: Pfn) -> Result<(), BuildError> {
        for pfn in (0..end.get()).map(Pfn::new) {
            direct_map::zero_frame(self.mfn(pfn)?);
        }
        Ok(())
    }

    /// The frame behind a pfn.
    fn mfn(&self, pfn: Pfn) -> Result<Mfn, BuildError> {
        let index = self
            .runs
            .partition_point(|run| run.pfn + run.pages <= pfn.get());
        self.runs
            .get(index)
            .and_then(|run| run.mfn.checked_add(pfn.get() - run.pfn))
            .ok_or(BuildError::Refused(
                "a page beyond dom0's memory",
                Errno::EINVAL,
            ))
    }

    /// Copies `bytes` to the guest-physical address `paddr`, page by page.
    fn write(&self, mut paddr: u64, mut bytes: &[u8]) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let offset = MachAddr::new(paddr).page_offset();
            let (now, rest) = bytes.split_at(bytes.len().min(PAGE_SIZE - offset));
            let frame = self.mfn(Pfn::containing(paddr))?;
            direct_map::write(MachAddr::new(frame.to_maddr().get() + offset as u64), now);
            paddr += now.len() as u64;
            bytes = rest;
        }
        Ok(())
    }
}

fn load_kernel(kernel: &Kernel<'_>, frames: &Frames) -> Result<(), BuildError> {
    for segment in kernel.segments() {
        let segment = segment?;
        frames.write(segment.paddr, segment.bytes)?;
    }
    Ok(())
}

/// Writes the list of frames by pfn; entries beyond the domain's end say "none".
fn write_p2m(layout: &Layout, frames: &Frames) -> Result<(), BuildError> {
    let list = layout.p2m_list;
    for run in &frames.runs {
        for index in 0..run.pages {
            let paddr = list.first.to_paddr() + (run.pfn + index) * 8;
            let entry = run.mfn.get() + index;
            let frame = frames.mfn(Pfn::containing(paddr))?;
            direct_map::table(frame).store(MachAddr::new(paddr).page_offset() / 8, entry);
        }
    }
    fill_tail(list, layout.request.nr_pages, frames)
}

fn fill_tail(list: Region, nr_pages: u64, frames: &Frames) -> Result<(), BuildError> {
    const PER_PAGE: u64 = PAGE_SIZE as u64 / 8;
    for index in nr_pages..list.pages * PER_PAGE {
        let frame = frames.mfn(Pfn::new(list.first.get() + index / PER_PAGE))?;
        let slot = MachAddr::new(index * 8).page_offset() / 8;
        direct_map::table(frame).store(slot, Mfn::INVALID.get());
    }
    Ok(())
}

fn write_page_tables(layout: &Layout, frames: &Frames) -> Result<(), BuildError> {
    for table in layout.tables() {
        let view = direct_map::table(frames.mfn(table.pfn)?);
        for entry in table.entries() {
            let target = frames.mfn(entry.target)?.to_maddr().get();
            view.store(entry.index, target | entry.flags.bits());
        }
    }
    Ok(())
}

fn write_start_info(
    parts: &Parts<'_>,
    domain: &Domain,
    layout: &Layout,
    frames: &Frames,
) -> Result<(), BuildError> {
    let mut info = StartInfo::new();
    layout.describe(&mut info);
    info.flags |= (StartFlags::PRIVILEGED | StartFlags::INITDOMAIN).bits();
    info.shared_info = domain.shared_info.mfn().to_maddr();
    if !info.set_cmd_line(parts.command_line.as_bytes()) {
        log::warn!(
            "dom0's command line is cut at {} bytes",
            info.cmd_line.len() - 1
        );
    }
    frames.write(layout.start_info.to_paddr(), info.as_bytes())
}

fn start_vcpu(
    domain: &DomainRef,
    kernel: &Kernel<'_>,
    layout: &Layout,
    frames: &Frames,
) -> Result<(), BuildError> {
    // `FLAT_KERNEL_CS` and `FLAT_KERNEL_SS` of a 64-bit guest.
    const CS: u16 = 0xe033;
    const SS: u16 = 0xe02b;
    let mut context = Box::<VcpuGuestContext>::new(VcpuGuestContext::new_zeroed());
    context.flags = (ContextFlags::IN_KERNEL | ContextFlags::ONLINE).bits();
    context.user_regs.rip = kernel.entry().get();
    context.user_regs.rsp = layout.stack_top().get();
    context.user_regs.rsi = layout.address_of(layout.start_info).get();
    context.user_regs.rflags = 0x202;
    context.user_regs.cs = CS;
    context.user_regs.ss = SS;
    context.kernel_ss = SS.into();
    context.kernel_sp = context.user_regs.rsp;
    context.ctrlreg[3] = frames.mfn(layout.root)?.to_maddr().get();
    let refused = |errno| BuildError::Refused("dom0's first vCPU", errno);
    let vcpu = VcpuRef::new(domain, VcpuId::new(0)).ok_or(refused(Errno::EINVAL))?;
    loop {
        match trap::initialise(&vcpu, &context) {
            Ok(()) => break,
            Err(Stop::Again) => {}
            Err(Stop::Errno(errno)) => return Err(refused(errno)),
            Err(Stop::Crash(_)) => return Err(refused(Errno::EINVAL)),
        }
    }
    pin_root(domain, frames.mfn(layout.root)?)?;
    sched::bring_up(&vcpu);
    Ok(())
}

/// A kernel expects its first root pinned: it takes the pin off once it has tables of its own.
fn pin_root(domain: &DomainRef, root: Mfn) -> Result<(), BuildError> {
    let mut budget = Budget::new(CALL_BUDGET);
    with_space(domain, &mut budget, |space| space.pin(root, Level::L4))
        .map_err(|_| BuildError::Refused("dom0's root", Errno::EINVAL))
}
