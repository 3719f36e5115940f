//! The page the hypervisor and one domain share: pending events, masks, wall clock.

use crate::vcpu::VcpuInfo;

/// vCPUs that have their [`VcpuInfo`] in this page; the others must register one.
pub const LEGACY_MAX_VCPUS: usize = 32;
/// Ports of the two-level event-channel ABI.
pub const NR_EVENT_CHANNELS_2L: u32 = 4096;

abi! {
    /// The shared info page's contents.
    pub struct SharedInfo: 3136 {
        0 => vcpu_info: [VcpuInfo; LEGACY_MAX_VCPUS],
        /// A bit for each port: an event is waiting.
        2048 => evtchn_pending: [u64; 64],
        /// A bit for each port: deliver nothing.
        2560 => evtchn_mask: [u64; 64],
        /// Odd while the wall clock changes, different after it did.
        3072 => wc_version: u32,
        /// UNIX seconds when the system time was zero, low half.
        3076 => wc_sec: u32,
        3080 => wc_nsec: u32,
        3084 => wc_sec_hi: u32,
        3088 => arch: ArchSharedInfo,
    }

    /// The x86 part: where the guest keeps its p2m list, for those who save or watch it.
    pub struct ArchSharedInfo: 48 {
        /// One more than the largest pfn.
        0 => max_pfn: u64,
        /// Frame of the three-level frame list; `!0` when there is none.
        8 => pfn_to_mfn_frame_list_list: u64,
        /// Bit 0: I/O error. Bit 1: PCI system error.
        16 => nmi_reason: u64,
        /// Page-table root (an L4's frame, shifted as in CR3) that maps the linear list.
        24 => p2m_cr3: u64,
        /// Address of the linear list under that root.
        32 => p2m_vaddr: u64,
        /// Odd while the list changes.
        40 => p2m_generation: u64,
    }
}
