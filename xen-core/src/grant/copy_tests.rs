//! Batches of copies between any pages of any domains, whose granters do as they please meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantEntryFlags};
use guest_abi::ids::{DomId, DomIdArg, GrantRef};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::copy::Copier;
use super::entry::EntryWord;
use super::sim::{Memory, REFS, Sim, domains};

#[derive(Clone, Debug)]
enum Op {
    /// A copy between two ends, each with whether it is a grant.
    Copy((CopyEnd, bool), (CopyEnd, bool)),
    /// A granter writes something else into the word of an entry, in use or not.
    Meddle {
        granter: usize,
        reference: u32,
        word: u32,
    },
}

/// One end: a grant of one of more domains than a copier remembers, or a frame of the caller's.
fn end() -> impl Strategy<Value = (CopyEnd, bool)> {
    let granted = (0u16..6, 0..REFS + 1).prop_map(|(domain, reference)| {
        let domain = DomIdArg::new(domain);
        (CopyEnd::granted(domain, GrantRef::new(reference), 0), true)
    });
    let own = (6u64..12).prop_map(|what| {
        let end = CopyEnd {
            what,
            domid: DomIdArg::SELF,
            ..CopyEnd::default()
        };
        (end, false)
    });
    prop_oneof![3 => granted, 1 => own]
}

fn op() -> impl Strategy<Value = Op> {
    let word = prop_oneof![
        any::<u32>(),
        Just(EntryWord::permit(DomId::new(1), GrantEntryFlags::empty()).get()),
    ];
    prop_oneof![
        4 => (end(), end()).prop_map(|(source, dest)| Op::Copy(source, dest)),
        1 => (0usize..2, 0..REFS, word).prop_map(|(granter, reference, word)| Op::Meddle {
            granter,
            reference,
            word
        }),
    ]
}

fn request((source, source_is_grant): (CopyEnd, bool), dest: (CopyEnd, bool)) -> GrantCopy {
    GrantCopy {
        source,
        dest: dest.0,
        len: 8,
        flags: u16::from(source_is_grant) | u16::from(dest.1) << 1,
        ..GrantCopy::default()
    }
}

/// Both domains grant their frames to domain 1, the odd ones to be read only.
fn granting() -> [Arc<Sim>; 2] {
    let domains = domains(1);
    for (first, domain) in [0, 8].into_iter().zip(&domains) {
        for reference in 0..REFS {
            let flags = match reference % 2 {
                0 => GrantEntryFlags::empty(),
                _ => GrantEntryFlags::READONLY,
            };
            domain.grant(reference, 1, first + reference, flags);
        }
    }
    domains
}

proptest! {
    /// Bytes move only between pages that are held (the memory checks that), at most two pages
    /// are, and after the batch none is, nor any domain.
    #[test]
    fn a_batch_holds_what_it_copies_and_nothing_after(
        ops in proptest::collection::vec(op(), 1..80),
    ) {
        let memory = Memory::default();
        let domains = granting();
        // Each domain has several numbers here, so that there are more than two of them.
        let find = |arg: DomIdArg| domains.get(usize::from(arg.get()) % 2).cloned();
        let mut copier = Copier::new(&domains[1], &memory);
        for op in ops {
            match op {
                Op::Copy(source, dest) => drop(copier.copy(&request(source, dest), find)),
                Op::Meddle { granter, reference, word } => {
                    let entry = domains[granter].table.atomic_u32(reference as usize * 8);
                    entry.store(word, SeqCst);
                }
            }
            let in_use: u32 = domains.iter().map(|domain| domain.grants.entries_in_use()).sum();
            prop_assert!(in_use <= 2);
        }
        drop(copier);
        prop_assert!(memory.is_untouched());
        for domain in &domains {
            prop_assert_eq!(domain.grants.entries_in_use(), 0);
            prop_assert_eq!(Arc::strong_count(domain), 1);
        }
    }
}

#[test]
fn a_page_may_be_source_and_destination_at_once() {
    let (memory, domains) = (Memory::default(), granting());
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
    let page = (
        CopyEnd::granted(DomIdArg::new(0), GrantRef::new(0), 0),
        true,
    );
    let other = (
        CopyEnd::granted(DomIdArg::new(0), GrantRef::new(2), 0),
        true,
    );
    let mut copier = Copier::new(&domains[1], &memory);
    // Both ends; then the one goes elsewhere; then the other.
    for (source, dest, flags) in [(page, page, 24), (other, page, 24), (page, other, 8)] {
        assert_eq!(copier.copy(&request(source, dest), find), Ok(()));
        assert_eq!(domains[0].flags(0) & 24, flags);
    }
    drop(copier);
    assert!(memory.is_untouched());
    assert_eq!(domains[0].flags(0), 1);
}

#[test]
fn a_domain_whose_page_is_claimed_is_not_forgotten_for_another() {
    let (memory, domains) = (Memory::default(), granting());
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get()) % 2).cloned();
    let of = |domain, reference| {
        let domain = DomIdArg::new(domain);
        (CopyEnd::granted(domain, GrantRef::new(reference), 0), true)
    };
    let mut copier = Copier::new(&domains[1], &memory);
    for source in [1, 3, 5, 7, 9, 11, 13] {
        // The destination stays the same: claimed once, with its granter.
        assert_eq!(copier.copy(&request(of(source, 1), of(0, 2)), find), Ok(()));
        assert_eq!(memory.count(2), (1, 1));
    }
    drop(copier);
    assert!(memory.is_untouched());
    assert_eq!((domains[0].flags(2), domains[1].flags(1)), (1, 5));
}
