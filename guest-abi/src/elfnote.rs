//! The notes by which a kernel image tells the domain builder what it wants.

/// The owner of these notes.
pub const OWNER: &[u8] = b"Xen";

wire_enum! {
    /// A note's type.
    pub enum ElfNote: u32 {
        Info = 0,
        /// Where the kernel starts.
        Entry = 1,
        /// The page to fill with hypercall stubs.
        HypercallPage = 2,
        /// Where pfn 0 is mapped at start.
        VirtBase = 3,
        /// To be taken off each segment's physical address.
        PaddrOffset = 4,
        /// The ABI spoken: "xen-3.0".
        XenVersion = 5,
        GuestOs = 6,
        GuestVersion = 7,
        Loader = 8,
        PaeMode = 9,
        /// Names of required features, separated by `|`.
        Features = 10,
        BsdSymtab = 11,
        /// The lowest address the hypervisor may use.
        HvStartLow = 12,
        /// Which bits of an L1 entry say that it holds an mfn.
        L1MfnValid = 13,
        SuspendCancel = 14,
        /// Where the p2m list is to be mapped.
        InitP2m = 15,
        /// The ramdisk need not be mapped.
        ModStartPfn = 16,
        /// Supported features as bits: [`crate::version::XenFeatures`].
        SupportedFeatures = 17,
        /// Entry in 32-bit protected mode, for hardware-assisted guests.
        Phys32Entry = 18,
    }
}
