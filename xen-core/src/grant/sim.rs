//! Two simulated domains and a memory that counts, for the tests of grants.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use guest_abi::frame::Mfn;
use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantEntryFlags, GrantStatus, MapFlags};
use guest_abi::ids::{DomId, DomIdArg, GrantRef};

use super::copy::CopyMachine;
use super::entry::{Access, EntryWord};
use super::map::{Grants, Machine, Party, Place, Request};
use super::refusal::Refusal;
use crate::arch::shared_page::SharedPage;

/// Frames 0..8 belong to domain 0, 8..16 to domain 1; the odd ones must not be written.
pub(super) const FRAMES: u64 = 16;
pub(super) const REFS: u32 = 4;

pub(super) struct Sim {
    id: DomId,
    pub(super) grants: Grants<Arc<Sim>>,
    pub(super) table: SharedPage,
}

impl Party for Arc<Sim> {
    fn id(&self) -> DomId {
        self.id
    }
    fn grants(&self) -> &Grants<Self> {
        &self.grants
    }
}

pub(super) fn domains(max_maptrack: u32) -> [Arc<Sim>; 2] {
    static NEXT_FRAME: AtomicU64 = AtomicU64::new(0x9000_0000);
    [0, 1].map(|id| {
        let table = Mfn::new(NEXT_FRAME.fetch_add(1, SeqCst));
        let grants = Grants::new(1, max_maptrack);
        grants.table.lock().grow(1, || Ok(table)).unwrap();
        Arc::new(Sim {
            id: DomId::new(id),
            grants,
            table: SharedPage::new(table),
        })
    })
}

impl Sim {
    pub(super) fn grant(&self, reference: u32, grantee: u16, frame: u32, flags: GrantEntryFlags) {
        let at = reference as usize * 8;
        self.table.atomic_u32(at + 4).store(frame, SeqCst);
        let word = EntryWord::permit(DomId::new(grantee), flags);
        self.table.atomic_u32(at).store(word.get(), SeqCst);
    }

    pub(super) fn flags(&self, reference: u32) -> u32 {
        self.table.atomic_u32(reference as usize * 8).load(SeqCst) & 0xffff
    }
}

/// Memory management that counts, and refuses what the real one would.
#[derive(Default)]
pub(super) struct Memory {
    /// Frame → (general references, references as writable).
    holds: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// Place → what it maps.
    pub(super) entries: Mutex<BTreeMap<u64, (u64, bool)>>,
}

impl Memory {
    pub(super) fn count(&self, frame: u64) -> (u32, u32) {
        self.holds
            .lock()
            .unwrap()
            .get(&frame)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.holds
            .lock()
            .unwrap()
            .values()
            .all(|count| *count == (0, 0))
            && self.entries.lock().unwrap().is_empty()
    }
}

fn slot(place: Place) -> u64 {
    match place {
        Place::Address(at) | Place::Entry(at) => at,
    }
}

impl Machine for Memory {
    fn hold(&self, owner: DomId, frame: Mfn, access: Access) -> Result<(), Refusal> {
        let frame = frame.get();
        let is_owners = frame < FRAMES && frame / 8 == u64::from(owner.get());
        if !is_owners || (access == Access::Write && frame % 2 == 1) {
            return Err(GrantStatus::GeneralError.into());
        }
        let mut holds = self.holds.lock().unwrap();
        let count = holds.entry(frame).or_default();
        count.0 += 1;
        count.1 += u32::from(access == Access::Write);
        Ok(())
    }

    fn let_go(&self, frame: Mfn, access: Access) {
        let mut holds = self.holds.lock().unwrap();
        let count = holds.get_mut(&frame.get()).expect("held before");
        count.0 = count
            .0
            .checked_sub(1)
            .expect("dropped no more often than held");
        count.1 = count
            .1
            .checked_sub(u32::from(access == Access::Write))
            .expect("as above");
    }

    fn install(&self, place: Place, _: DomId, frame: Mfn, flags: MapFlags) -> Result<(), Refusal> {
        let mut entries = self.entries.lock().unwrap();
        if slot(place) == 0 || entries.contains_key(&slot(place)) {
            return Err(GrantStatus::GeneralError.into());
        }
        entries.insert(
            slot(place),
            (frame.get(), !flags.contains(MapFlags::READONLY)),
        );
        Ok(())
    }

    fn remove(&self, place: Place, frame: Mfn, access: Access) -> Result<(), Refusal> {
        let mut entries = self.entries.lock().unwrap();
        let expected = (frame.get(), access == Access::Write);
        if entries.get(&slot(place)) != Some(&expected) {
            return Err(GrantStatus::GeneralError.into());
        }
        entries.remove(&slot(place));
        Ok(())
    }
}

impl CopyMachine for Memory {
    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize) {
        assert!(self.count(from.0.get()).0 > 0, "the source is held");
        assert!(
            self.count(to.0.get()).1 > 0,
            "the destination is held for writing"
        );
        assert!(
            from.1 + len <= 4096 && to.1 + len <= 4096,
            "within both frames"
        );
    }
}

pub(super) fn request(reference: u32, place: u64, flags: u32) -> Request {
    Request {
        reference: GrantRef::new(reference),
        flags: MapFlags::from_bits_retain(flags),
        place: Place::Address(place),
    }
}

pub(super) fn copy_request(granter: usize, reference: u32, own: u64) -> GrantCopy {
    GrantCopy {
        source: CopyEnd::granted(
            DomIdArg::new(u16::try_from(granter).unwrap()),
            GrantRef::new(reference),
            0,
        ),
        dest: CopyEnd {
            what: own,
            domid: DomIdArg::SELF,
            ..CopyEnd::default()
        },
        flags: 1,
        ..GrantCopy::default()
    }
}
