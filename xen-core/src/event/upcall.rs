//! A vCPU's `vcpu_info`: where it lies, and the words in it.
//!
//! It starts in the vCPU's slot of `shared_info` (vCPUs beyond the 32nd have none) and moves, once,
//! to a place that the guest registers. The frame there is held as a writable page until the
//! domain ends, so it can neither be freed nor become a page table while the core writes to it.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use guest_abi::errno::Errno;
use guest_abi::frame::{MachAddr, Mfn};
use guest_abi::ids::VcpuId;
use guest_abi::shared_info::LEGACY_MAX_VCPUS;
use guest_abi::vcpu::VcpuInfo as Layout;
use guest_abi::{PAGE_SHIFT, PAGE_SIZE};

use super::two_level::UpcallWords;
use crate::arch::shared_page::SharedPage;

const SIZE: usize = size_of::<Layout>();
const PENDING: usize = core::mem::offset_of!(Layout, evtchn_upcall_pending);
const MASK: usize = core::mem::offset_of!(Layout, evtchn_upcall_mask);
const SELECTOR: usize = core::mem::offset_of!(Layout, evtchn_pending_sel);

/// A `vcpu_info` in memory that guest and core share.
#[derive(Clone, Copy, Debug)]
pub struct VcpuInfo {
    page: SharedPage,
    offset: usize,
}

impl VcpuInfo {
    /// The one at `offset` of the frame.
    ///
    /// # Errors
    /// `EINVAL` when it would be misaligned or cross the end of the page.
    pub fn try_new(mfn: Mfn, offset: u32) -> Result<Self, Errno> {
        let offset = offset as usize;
        if !offset.is_multiple_of(8) || offset > PAGE_SIZE - SIZE {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            page: SharedPage::new(mfn),
            offset,
        })
    }

    /// The frame that holds it.
    pub const fn mfn(self) -> Mfn {
        self.page.mfn()
    }

    /// The machine address of its first byte.
    pub const fn maddr(self) -> MachAddr {
        MachAddr::new((self.page.mfn().get() << PAGE_SHIFT) | self.offset as u64)
    }

    /// Where the core sees it.
    pub fn core_address(&self) -> u64 {
        core::ptr::from_ref(self.byte(0)).addr() as u64
    }

    /// The flag "take an upcall".
    pub fn upcall_pending(&self) -> &AtomicU8 {
        self.byte(PENDING)
    }

    /// The flag "no upcalls now".
    pub fn upcall_mask(&self) -> &AtomicU8 {
        self.byte(MASK)
    }

    /// Which words of the pending bits to look at.
    pub fn selector(&self) -> &AtomicU64 {
        self.word(SELECTOR)
    }

    /// The byte at `offset` within the `vcpu_info`.
    pub fn byte(&self, offset: usize) -> &AtomicU8 {
        self.page.atomic_u8(self.offset + offset % SIZE)
    }

    /// The 32-bit word at `offset` within the `vcpu_info`.
    pub fn half_word(&self, offset: usize) -> &AtomicU32 {
        self.page.atomic_u32(self.offset + offset % SIZE)
    }

    /// The 64-bit word at `offset` within the `vcpu_info`.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        self.page.atomic_u64(self.offset + offset % SIZE)
    }

    pub(super) fn upcall_words(&self) -> UpcallWords<'_, AtomicU64, AtomicU8> {
        UpcallWords {
            selector: self.selector(),
            pending: self.upcall_pending(),
        }
    }

    /// Takes over what `old` says; a vCPU that had no `vcpu_info` starts with upcalls masked.
    fn copy_from(&self, old: Option<Self>) {
        for offset in (0..SIZE).step_by(8) {
            let word = old.map_or(0, |old| old.word(offset).load(Ordering::SeqCst));
            self.word(offset).store(word, Ordering::SeqCst);
        }
        if old.is_none() {
            self.upcall_mask().store(1, Ordering::SeqCst);
        }
    }

    /// Announces every port there is: whatever was raised during the move is looked at again.
    fn announce_all(&self) {
        self.selector().store(u64::MAX, Ordering::SeqCst);
        self.upcall_pending().store(1, Ordering::SeqCst);
    }
}

/// Where a vCPU's `vcpu_info` lies now.
pub struct InfoPlace {
    /// Its machine address; 0 (the real-mode vectors, never a guest's) for none.
    maddr: AtomicU64,
    legacy: u64,
}

impl InfoPlace {
    /// The vCPU's slot in its domain's `shared_info`, if it has one.
    pub fn legacy(vcpu: VcpuId, shared_info: Mfn) -> Self {
        let slot = vcpu.get() as usize;
        let legacy = if slot < LEGACY_MAX_VCPUS {
            (shared_info.get() << PAGE_SHIFT) | (slot * SIZE) as u64
        } else {
            0
        };
        Self {
            maddr: AtomicU64::new(legacy),
            legacy,
        }
    }

    /// The place, if there is one.
    pub fn get(&self) -> Option<VcpuInfo> {
        let maddr = MachAddr::new(self.maddr.load(Ordering::SeqCst));
        (maddr.get() != 0).then(|| VcpuInfo {
            page: SharedPage::new(maddr.frame()),
            offset: maddr.page_offset(),
        })
    }

    /// Whether the guest has registered a place.
    pub fn is_registered(&self) -> bool {
        self.maddr.load(Ordering::SeqCst) != self.legacy
    }

    /// Moves to `new`, unless it has moved before; says whether it did. Senders that still write
    /// to the old place raised their port before the move was visible, so the announcement of all
    /// ports covers theirs.
    pub fn move_to(&self, new: VcpuInfo) -> bool {
        // Staying where it is would be no move: nobody would give the hold on the frame back.
        if self.is_registered() || new.maddr().get() == self.legacy {
            return false;
        }
        new.copy_from(self.get());
        let moved = self.maddr.compare_exchange(
            self.legacy,
            new.maddr().get(),
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        if moved.is_ok() {
            new.announce_all();
        }
        moved.is_ok()
    }

    /// Back to the slot in `shared_info`; the registered frame, whose hold the caller drops.
    pub fn leave(&self) -> Option<Mfn> {
        let was = self.maddr.swap(self.legacy, Ordering::SeqCst);
        (was != self.legacy).then(|| MachAddr::new(was).frame())
    }
}

impl fmt::Debug for InfoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoPlace({:#x})", self.maddr.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{InfoPlace, VcpuInfo};
    use core::sync::atomic::Ordering::SeqCst;
    use guest_abi::errno::Errno;
    use guest_abi::frame::Mfn;
    use guest_abi::ids::VcpuId;

    #[test]
    fn moving_copies_the_contents_and_announces_all_ports() {
        let place = InfoPlace::legacy(VcpuId::new(1), Mfn::new(0x1_0001));
        let old = place.get().unwrap();
        old.upcall_mask().store(1, SeqCst);
        old.word(16).store(0xdead, SeqCst);
        let new = VcpuInfo::try_new(Mfn::new(0x1_0002), 4096 - 64).unwrap();
        assert!(!place.is_registered());
        assert!(place.move_to(new));
        assert!(!place.move_to(new), "only once");
        let now = place.get().unwrap();
        assert_eq!(now.maddr().get(), 0x1000_2fc0);
        assert_eq!(now.word(16).load(SeqCst), 0xdead);
        assert_eq!(now.upcall_mask().load(SeqCst), 1);
        assert_eq!(now.upcall_pending().load(SeqCst), 1);
        assert_eq!(now.selector().load(SeqCst), u64::MAX);
        assert!(place.is_registered());
        assert_eq!(place.leave(), Some(Mfn::new(0x1_0002)));
        assert_eq!(place.leave(), None);
    }

    #[test]
    fn moving_to_where_it_is_already_is_refused() {
        let place = InfoPlace::legacy(VcpuId::new(2), Mfn::new(0x1_0005));
        let same = VcpuInfo::try_new(Mfn::new(0x1_0005), 128).unwrap();
        assert!(!place.move_to(same));
        assert!(!place.is_registered());
    }

    #[test]
    fn a_vcpu_beyond_the_slots_has_no_info_until_it_registers_one() {
        let place = InfoPlace::legacy(VcpuId::new(32), Mfn::new(0x1_0003));
        assert!(place.get().is_none());
        let new = VcpuInfo::try_new(Mfn::new(0x1_0004), 0).unwrap();
        assert!(place.move_to(new));
        assert_eq!(new.upcall_mask().load(SeqCst), 1);
    }

    #[test]
    fn a_place_that_is_misaligned_or_crosses_the_page_is_refused() {
        for offset in [4, 4096 - 56, 4096, u32::MAX] {
            let refused = VcpuInfo::try_new(Mfn::new(1), offset).unwrap_err();
            assert_eq!(refused, Errno::EINVAL);
        }
    }
}
