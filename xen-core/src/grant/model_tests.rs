//! Random grants, maps, unmaps and copies between domains, beside a naive model that counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use guest_abi::grant_table::GrantEntryFlags;
use guest_abi::ids::{DomIdArg, GrantHandle};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::copy::Copier;
use super::entry::Access;
use super::map::{Parts, map, release_some, unmap};
use super::sim::{FRAMES, Memory, REFS, copy_request, domains, request};

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
                    let mapped_before = memory.entries.lock().unwrap().len();
                    if let Ok(unmapped) = unmap(&domains[mapper], handle, parts, &memory) {
                        let mapped_now = memory.entries.lock().unwrap().len();
                        prop_assert_eq!(unmapped.needs_flush(), mapped_now < mapped_before);
                        unmapped.finish(&domains[mapper], &memory);
                        let mut track = domains[mapper].grants.track.lock();
                        match track.take(handle) {
                            Ok(mapping) => track.set(handle, mapping),
                            Err(_) => drop(live.remove(&(mapper, handle.get()))),
                        }
                    }
                }
                Op::Copy { caller, granter, reference, own, offset, len } => {
                    let mut op = copy_request(granter, reference, own);
                    op.source.offset = offset;
                    op.len = len;
                    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
                    let _ = Copier::new(&domains[caller], &memory).copy(&op, find);
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
