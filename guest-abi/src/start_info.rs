//! The page a guest kernel finds in RSI when it starts.

use crate::frame::{GuestVirtAddr, MachAddr, Mfn, PAGE_SHIFT, Pfn};
use crate::ids::Port;

/// What `magic` holds for a 64-bit guest, before the zeros.
pub const MAGIC: &[u8] = b"xen-3.0-x86_64";
/// Room for the command line, its final zero included.
pub const MAX_GUEST_CMDLINE: usize = 1024;

bitflags::bitflags! {
    /// `flags` of [`StartInfo`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StartFlags: u32 {
        /// The domain is privileged.
        const PRIVILEGED = 1 << 0;
        /// The domain is the first one.
        const INITDOMAIN = 1 << 1;
        /// `mod_start` leads to a list of multiboot modules.
        const MULTIBOOT_MOD = 1 << 2;
        /// `mod_start` is a pfn and the module is not mapped.
        const MOD_START_PFN = 1 << 3;
        /// The tools know how to follow a p2m list that is linear in virtual memory.
        const VIRT_P2M_4TOOLS = 1 << 4;
        /// Power-management duties of dom0.
        const PM_MASK = 0xff << 8;
    }
}

abi! {
    /// Start of day, as told to the guest.
    pub struct StartInfo: 1168 {
        /// [`MAGIC`], padded with zeros.
        0 => magic: [u8; 32],
        /// Pages allocated to the domain.
        32 => nr_pages: u64,
        /// Machine address of the shared info page.
        40 => shared_info: MachAddr,
        /// [`StartFlags`].
        48 => flags: u32,
        #[doc(hidden)]
        52 => _pad0: [u8; 4],
        /// The xenstore ring.
        56 => store_mfn: Mfn,
        /// The xenstore ring's port; 0 when xenstore runs in this very domain.
        64 => store_evtchn: Port,
        #[doc(hidden)]
        68 => _pad1: [u8; 4],
        /// The console ring; in dom0 the word means something else, see [`Self::dom0_console`].
        72 => console_mfn: Mfn,
        /// The console ring's port; 0 when there is none.
        80 => console_evtchn: Port,
        #[doc(hidden)]
        84 => _pad2: [u8; 4],
        /// Address of the top-level page table.
        88 => pt_base: GuestVirtAddr,
        /// Pages of the initial mapping's tables.
        96 => nr_pt_frames: u64,
        /// Address of the p2m list.
        104 => mfn_list: GuestVirtAddr,
        /// The module: an address, or a pfn if [`StartFlags::MOD_START_PFN`] says so.
        112 => mod_start: u64,
        /// Bytes in the module.
        120 => mod_len: u64,
        /// Zero-terminated command line.
        128 => cmd_line: [u8; MAX_GUEST_CMDLINE],
        /// First frame of the p2m list, when it lies outside the initial mapping.
        1152 => first_p2m_pfn: Pfn,
        /// Frames of the p2m list and its page tables.
        1160 => nr_p2m_frames: u64,
    }

    /// One module of a multiboot list.
    pub struct MultibootModule: 16 {
        0 => mod_start: u32,
        4 => mod_end: u32,
        8 => cmdline: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }
}

impl StartInfo {
    /// A page with the magic filled in and all else zero.
    pub fn new() -> Self {
        let mut info = Self::default();
        for (to, from) in info.magic.iter_mut().zip(MAGIC) {
            *to = *from;
        }
        info
    }

    /// The flags the ABI knows.
    pub const fn flags(&self) -> StartFlags {
        StartFlags::from_bits_retain(self.flags)
    }

    /// dom0 only: offset and size of the video console's description in this page.
    pub const fn dom0_console(&self) -> (u32, u32) {
        let word = self.console_mfn.get();
        ((word & 0xffff_ffff) as u32, (word >> 32) as u32)
    }

    /// Sets the command line, cut at the room there is; says whether all of it fitted.
    pub fn set_cmd_line(&mut self, line: &[u8]) -> bool {
        self.cmd_line.fill(0);
        let room = MAX_GUEST_CMDLINE - 1;
        for (to, from) in self.cmd_line.iter_mut().zip(line.iter().take(room)) {
            *to = *from;
        }
        line.len() <= room
    }

    /// The command line, without its zero.
    pub fn cmd_line(&self) -> &[u8] {
        self.cmd_line.split(|&byte| byte == 0).next().unwrap_or(&[])
    }

    /// The machine frame of the shared info page.
    pub const fn shared_info_mfn(&self) -> Mfn {
        Mfn::new(self.shared_info.get() >> PAGE_SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_keeps_its_final_zero() {
        let mut info = StartInfo::new();
        assert!(info.set_cmd_line(b"console=hvc0"));
        assert_eq!(info.cmd_line(), b"console=hvc0");
        assert!(!info.set_cmd_line(&[b'x'; 1024]));
        assert_eq!(info.cmd_line().len(), 1023);
    }
}
