//! What guest-abi's items are called in Xen's headers, and which of them have no name there.

mod constants;
mod groups;
mod structs;

pub(crate) use constants::CONSTANTS;
pub(crate) use groups::{GROUPS, VALUES};
pub(crate) use structs::{FIELDS, SIZES, STRUCTS};

/// What the headers have no name for, and why it is in the crate all the same.
pub(crate) const EXEMPT: &[(&str, &str)] = &[
    ("PAGE_SHIFT", "the processor's"),
    ("PAGE_SIZE", "the processor's"),
    ("elfnote::OWNER", "a name, not a number"),
    (
        "errno::Errno::EINTR",
        "shown to the hypervisor's own code only",
    ),
    (
        "errno::Errno::ERESTART",
        "shown to the hypervisor's own code only",
    ),
    ("frame::Mfn", "its constant is ours"),
    ("frame::GuestVirtAddr", "its constant is ours"),
    ("frame::PAGE_SHIFT", "the processor's"),
    ("frame::PAGE_SIZE", "the processor's"),
    ("frame::Pfn", "its constant is ours"),
    (
        "grant_table::ENTRIES_PER_PAGE",
        "follows from an entry's size",
    ),
    ("hypercall::MAX_ARGS", "registers, stated in prose"),
    ("ids::DomId::DOM0", "zero, stated in prose"),
    ("io::blkif::SECTOR_SIZE", "stated in prose"),
    ("memory::E820Entry", "the BIOS's, stated in prose"),
    ("memory::E820Type", "the BIOS's"),
    (
        "memory::MEMOP_CMD_BITS",
        "how continuations are coded, not in the public headers",
    ),
    ("mmu::ENTRIES_PER_TABLE", "the processor's"),
    ("mmu::PTE_FRAME_MASK", "the processor's"),
    ("mmu::Pte", "its constant is ours"),
    ("mmu::PteFlags", "the processor's"),
    (
        "sched::MAX_POLL_PORTS",
        "a limit of Xen's code, not in the public headers",
    ),
    ("start_info::MAGIC", "a name, not a number"),
    ("trap::EMULATE_PREFIX", "assembler text in the header"),
    ("trap::TRAP_DPL_MASK", "within macros of the header"),
    ("trap::TRAP_MASK_EVENTS", "within macros of the header"),
];
