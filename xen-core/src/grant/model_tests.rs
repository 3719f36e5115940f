//! Random grants, maps, unmaps and copies between domains, beside a naive model that counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use guest_abi::frame::Mfn;
use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantEntryFlags, GrantStatus, MapFlags};
use guest_abi::ids::{DomId, DomIdArg, GrantHandle, GrantRef};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::copy::{CopyMachine, copy};
use super::entry::{Access, EntryWord};
use super::map::{Grants, Machine, Parts, Party, Place, Request, map, release_some, unmap};
use crate::arch::shared_page::SharedPage;

/// Frames 0..8 belong to domain 0, 8..16 to domain 1; the odd ones must not be written.
const FRAMES: u64 = 16;
const REFS: u32 = 4;

struct Sim {
    id: DomId,
    grants: Grants<Arc<Sim>>,
    table: SharedPage,
}

impl Party for Arc<Sim> {
    fn id(&self) -> DomId {
        self.id
    }
    fn grants(&self) -> &Grants<Self> {
        &self.grants
    }
}

fn domains(max_maptrack: u32) -> [Arc<Sim>; 2] {
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
    fn grant(&self, reference: u32, grantee: u16, frame: u32, flags: GrantEntryFlags) {
        let at = reference as usize * 8;
        self.table.atomic_u32(at + 4).store(frame, SeqCst);
        let word = EntryWord::permit(DomId::new(grantee), flags);
        self.table.atomic_u32(at).store(word.get(), SeqCst);
    }

    fn flags(&self, reference: u32) -> u32 {
        self.table.atomic_u32(reference as usize * 8).load(SeqCst) & 0xffff
    }
}

/// Memory management that counts, and refuses what the real one would.
#[derive(Default)]
struct Memory {
    /// Frame → (general references, references as writable).
    holds: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// Place → what it maps.
    entries: Mutex<BTreeMap<u64, (u64, bool)>>,
}

impl Memory {
    fn count(&self, frame: u64) -> (u32, u32) {
        self.holds
            .lock()
            .unwrap()
            .get(&frame)
            .copied()
            .unwrap_or_default()
    }

    fn is_untouched(&self) -> bool {
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
    fn hold(&self, owner: DomId, frame: Mfn, access: Access) -> Result<(), GrantStatus> {
        let frame = frame.get();
        let is_owners = frame < FRAMES && frame / 8 == u64::from(owner.get());
        if !is_owners || (access == Access::Write && frame % 2 == 1) {
            return Err(GrantStatus::GeneralError);
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

    fn install(
        &self,
        place: Place,
        _: DomId,
        frame: Mfn,
        flags: MapFlags,
    ) -> Result<(), GrantStatus> {
        let mut entries = self.entries.lock().unwrap();
        if slot(place) == 0 || entries.contains_key(&slot(place)) {
            return Err(GrantStatus::GeneralError);
        }
        entries.insert(
            slot(place),
            (frame.get(), !flags.contains(MapFlags::READONLY)),
        );
        Ok(())
    }

    fn remove(&self, place: Place, frame: Mfn, access: Access) -> Result<(), GrantStatus> {
        let mut entries = self.entries.lock().unwrap();
        let expected = (frame.get(), access == Access::Write);
        if entries.get(&slot(place)) != Some(&expected) {
            return Err(GrantStatus::GeneralError);
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

#[derive(Clone, Debug)]
enum Op {
    Grant {
        granter: usize,
        reference: u32,
        grantee: u16,
        frame: u32,
        readonly: bool,
    },
    Revoke {
        granter: usize,
        reference: u32,
    },
    Map {
        mapper: usize,
        granter: usize,
        reference: u32,
        place: u64,
        flags: u32,
    },
    Unmap {
        mapper: usize,
        handle: u32,
        place: Option<u64>,
        device: bool,
    },
    Copy {
        caller: usize,
        granter: usize,
        reference: u32,
        own: u64,
        offset: u16,
        len: u16,
    },
    Overwrite {
        place: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (who, reference, place) = (0usize..2, 0..REFS + 1, 0u64..4);
    prop_oneof![
        (
            who.clone(),
            reference.clone(),
            0u16..2,
            0u32..20,
            any::<bool>()
        )
            .prop_map(|(granter, reference, grantee, frame, readonly)| Op::Grant {
                granter,
                reference,
                grantee,
                frame,
                readonly
            }),
        (who.clone(), reference.clone())
            .prop_map(|(granter, reference)| Op::Revoke { granter, reference }),
        (
            who.clone(),
            who.clone(),
            reference.clone(),
            place.clone(),
            0u32..8
        )
            .prop_map(|(mapper, granter, reference, place, flags)| Op::Map {
                mapper,
                granter,
                reference,
                place,
                flags
            }),
        (
            who.clone(),
            0u32..6,
            proptest::option::of(place.clone()),
            any::<bool>()
        )
            .prop_map(|(mapper, handle, place, device)| Op::Unmap {
                mapper,
                handle,
                place,
                device
            }),
        (
            who.clone(),
            who,
            reference,
            0u64..20,
            any::<u16>(),
            any::<u16>()
        )
            .prop_map(|(caller, granter, reference, own, offset, len)| Op::Copy {
                caller,
                granter,
                reference,
                own,
                offset,
                len: len % 8192
            }),
        place.prop_map(|place| Op::Overwrite { place }),
    ]
}

/// One live mapping, as the model sees it.
#[derive(Clone, Debug)]
struct Mapped {
    granter: usize,
    reference: u32,
    frame: u64,
    write: bool,
}

fn request(reference: u32, place: u64, flags: u32) -> Request {
    Request {
        reference: GrantRef::new(reference),
        flags: MapFlags::from_bits_retain(flags),
        place: Place::Address(place),
    }
}

fn copy_request(caller: usize, granter: usize, reference: u32, own: u64) -> GrantCopy {
    let _ = caller;
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

proptest! {
    /// The references that mappings hold on frames, and the marks on the entries, are exactly
    /// those of the mappings that exist: whatever is done, and in whatever order.
    #[test]
    fn references_follow_the_mappings(ops in proptest::collection::vec(op(), 1..150)) {
        let memory = Memory::default();
        let domains = domains(1);
        let mut live: BTreeMap<(usize, u32), Mapped> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Grant { granter, reference, grantee, frame, readonly } => {
                    // An honest granter changes only entries that are not in use.
                    if reference < REFS && domains[granter].flags(reference) & 0b1_1000 == 0 {
                        let flags = GrantEntryFlags::READONLY;
                        let flags = if readonly { flags } else { GrantEntryFlags::empty() };
                        domains[granter].grant(reference, grantee, frame, flags);
                    }
                }
                Op::Revoke { granter, reference } => {
                    if reference < REFS && domains[granter].flags(reference) & 0b1_1000 == 0 {
                        domains[granter].table.atomic_u32(reference as usize * 8).store(0, SeqCst);
                    }
                }
                Op::Map { mapper, granter, reference, place, flags } => {
                    let wanted = request(reference, place, flags);
                    let result = map(&domains[mapper], &domains[granter], &wanted, &memory);
                    if let Ok((handle, frame)) = result {
                        let write = wanted.access() == Access::Write;
                        let frame = frame.get();
                        let old = live.insert(
                            (mapper, handle.get()),
                            Mapped { granter, reference, frame, write },
                        );
                        prop_assert!(old.is_none(), "a live handle was given out again");
                    }
                }
                Op::Unmap { mapper, handle, place, device } => {
                    let frame = live.get(&(mapper, handle)).map(|mapped| mapped.frame << 12);
                    let parts = Parts {
                        host: place,
                        device: frame.filter(|_| device),
                    };
                    let handle = GrantHandle::new(handle);
                    if let Ok(unmapped) = unmap(&domains[mapper], handle, parts, &memory) {
                        unmapped.finish(&domains[mapper], &memory);
                        let mut track = domains[mapper].grants.track.lock();
                        match track.take(handle) {
                            Ok(mapping) => track.set(handle, mapping),
                            Err(_) => drop(live.remove(&(mapper, handle.get()))),
                        }
                    }
                }
                Op::Copy { caller, granter, reference, own, offset, len } => {
                    let mut op = copy_request(caller, granter, reference, own);
                    op.source.offset = offset;
                    op.len = len;
                    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
                    let _ = copy(&domains[caller], &op, find, &memory);
                }
                Op::Overwrite { place } => drop(memory.entries.lock().unwrap().remove(&place)),
            }
            for frame in 0..FRAMES {
                let of_frame = || live.values().filter(|mapped| mapped.frame == frame);
                let writers = of_frame().filter(|mapped| mapped.write).count();
                let expected = (of_frame().count(), writers);
                let (general, writable) = memory.count(frame);
                prop_assert_eq!((general as usize, writable as usize), expected);
            }
            for (granter, domain) in domains.iter().enumerate() {
                for reference in 0..REFS {
                    let of_entry = || {
                        live.values().filter(move |m| (m.granter, m.reference) == (granter, reference))
                    };
                    let used = of_entry().next().is_some();
                    let written = of_entry().any(|mapped| mapped.write);
                    let flags = domain.flags(reference);
                    prop_assert_eq!((flags & 8 != 0, flags & 16 != 0), (used, written));
                }
            }
        }
        for domain in &domains {
            while !release_some(domain, 3, &memory) {}
        }
        memory.entries.lock().unwrap().clear();
        prop_assert!(memory.is_untouched());
        prop_assert!(domains.iter().all(|domain| domain.grants.entries_in_use() == 0));
        prop_assert!(domains.iter().all(|domain| Arc::strong_count(domain) == 1));
    }
}

#[test]
fn a_mapping_outlives_the_granters_hold_and_is_unmapped_once() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let wanted = request(1, 3, MapFlags::HOST_MAP.bits());
    let (handle, _) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
    assert!(
        Arc::strong_count(&domains[0]) > 1,
        "the granter stays while it is mapped"
    );
    let parts = Parts {
        host: Some(3),
        device: None,
    };
    let first = unmap(&domains[1], handle, parts, &memory).unwrap();
    let second = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(second.unwrap_err(), GrantStatus::BadHandle);
    assert_eq!(memory.count(2), (1, 1), "held until the flush is done");
    first.finish(&domains[1], &memory);
    assert!(memory.is_untouched());
    let third = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(third.unwrap_err(), GrantStatus::BadHandle);
}

#[test]
fn a_page_table_entry_that_was_changed_is_not_unmapped() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let wanted = request(1, 3, MapFlags::HOST_MAP.bits());
    let (handle, _) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
    memory.entries.lock().unwrap().insert(3, (9, true));
    let parts = Parts {
        host: Some(3),
        device: None,
    };
    let refused = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(refused.unwrap_err(), GrantStatus::GeneralError);
    assert_eq!(memory.count(2), (1, 1), "still held");
}

#[test]
fn what_is_not_granted_gives_its_status() {
    let (memory, domains) = (Memory::default(), domains(1));
    let try_map = |reference, flags: MapFlags| {
        map(
            &domains[1],
            &domains[0],
            &request(reference, 3, flags.bits()),
            &memory,
        )
        .unwrap_err()
    };
    assert_eq!(try_map(512, MapFlags::HOST_MAP), GrantStatus::BadGntref);
    assert_eq!(
        try_map(u32::MAX, MapFlags::HOST_MAP),
        GrantStatus::BadGntref
    );
    assert_eq!(try_map(0, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    assert_eq!(try_map(0, MapFlags::empty()), GrantStatus::BadGntref);
    // A frame that is not the granter's; one that must not be written.
    domains[0].grant(1, 1, 9, GrantEntryFlags::empty());
    assert_eq!(try_map(1, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    domains[0].grant(2, 1, 3, GrantEntryFlags::empty());
    assert_eq!(try_map(2, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    assert_eq!(domains[0].flags(2), 1, "the marks are gone again");
    assert!(memory.is_untouched());
}

#[test]
fn a_mapper_at_its_quota_gets_no_space() {
    let (memory, domains) = (Memory::default(), domains(0));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let refused = map(&domains[1], &domains[0], &request(1, 3, 2), &memory);
    assert_eq!(refused.unwrap_err(), GrantStatus::NoSpace);
}

#[test]
fn a_copy_keeps_within_its_frames_and_its_rights() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::READONLY);
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
    let try_copy = |op: &GrantCopy| copy(&domains[1], op, find, &memory);
    let mut op = copy_request(1, 0, 1, 8);
    op.len = 4096;
    assert_eq!(try_copy(&op), Ok(()));
    op.source.offset = 1;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadCopyArg));
    op.source.offset = u16::MAX;
    op.len = u16::MAX;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadCopyArg));
    // Foreign memory by frame number, a domain that is not there, somebody else's frame.
    let mut op = copy_request(1, 0, 1, 8);
    op.dest.domid = DomIdArg::new(0);
    assert_eq!(try_copy(&op), Err(GrantStatus::PermissionDenied));
    let mut op = copy_request(1, 7, 1, 8);
    op.len = 1;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadDomain));
    assert_eq!(
        try_copy(&copy_request(1, 0, 1, 2)),
        Err(GrantStatus::BadPage)
    );
    // The other way round the grant would be written.
    let op = copy_request(1, 0, 1, 8);
    let back = GrantCopy {
        source: op.dest,
        dest: op.source,
        flags: 2,
        ..op
    };
    assert_eq!(try_copy(&back), Err(GrantStatus::GeneralError));
    assert!(memory.is_untouched());
}
