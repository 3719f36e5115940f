//! The rules of the page-type machine, one by one.

use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::{Flushed, Get, PageType, Phase, Put, Scope, TypeError, TypeState, TypeWord};

fn counted(get: Get) -> TypeState {
    match get {
        Get::Counted(state) => state,
        other => panic!("expected a count, got {other:?}"),
    }
}

fn table(ty: PageType) -> TypeState {
    match TypeState::FRESH.get(ty, None).unwrap() {
        Get::Validate { state, .. } => state.finish(),
        other => panic!("expected a validation, got {other:?}"),
    }
}

fn writable() -> TypeState {
    counted(TypeState::FRESH.get(PageType::Writable, None).unwrap())
}

#[test]
fn a_page_table_refuses_a_writable_mapping() {
    let refused = table(PageType::L1).get(PageType::Writable, None);
    assert_eq!(
        refused,
        Err(TypeError::Conflict {
            has: PageType::L1,
            count: 1,
            want: PageType::Writable
        })
    );
}

#[test]
fn a_writable_page_refuses_to_become_a_table() {
    assert!(writable().get(PageType::L2, None).is_err());
}

#[test]
fn a_page_under_validation_refuses_everyone() {
    let Get::Validate { state, .. } = TypeState::FRESH.get(PageType::L3, None).unwrap() else {
        panic!("a fresh page can be validated");
    };
    for want in [PageType::L3, PageType::L1, PageType::Writable] {
        assert_eq!(state.get(want, None), Err(TypeError::Busy));
    }
}

#[test]
fn a_page_that_was_writable_is_flushed_before_it_is_read_as_a_table() {
    let Ok(Put::Idle(idle)) = writable().put(false) else {
        panic!("the only user left");
    };
    assert!(matches!(
        idle.get(PageType::L1, None),
        Ok(Get::Validate {
            flush: Some(Scope::Owner),
            ..
        })
    ));
}

#[test]
fn a_foreign_writer_widens_the_flush() {
    let Ok(Put::Idle(idle)) = writable().put(true) else {
        panic!("the only user left");
    };
    assert!(matches!(
        idle.get(PageType::L1, None),
        Ok(Get::Validate {
            flush: Some(Scope::Everyone),
            ..
        })
    ));
}

#[test]
fn a_drained_table_becomes_writable_only_with_a_proof_of_this_idle_period() {
    let Ok(Put::Drain(partial)) = table(PageType::L1).put(false) else {
        panic!("the only user left");
    };
    let idle = partial.drained();
    assert_eq!(
        idle.get(PageType::Writable, None),
        Ok(Get::Flush(Scope::Owner))
    );
    let stale = Flushed::after(table(PageType::L1));
    assert_eq!(
        idle.get(PageType::Writable, Some(stale)),
        Ok(Get::Flush(Scope::Owner))
    );
    let fresh = Flushed::after(idle);
    assert_eq!(
        counted(idle.get(PageType::Writable, Some(fresh)).unwrap()).ty(),
        PageType::Writable
    );
}

#[test]
fn an_interrupted_validation_resumes_where_it_stopped() {
    let Get::Validate { state, .. } = TypeState::FRESH.get(PageType::L4, None).unwrap() else {
        panic!("a fresh page can be validated");
    };
    let rest = state.suspend(77);
    assert!(matches!(
        rest.get(PageType::L4, None),
        Ok(Get::Validate {
            from: 77,
            flush: None,
            ..
        })
    ));
    assert_eq!(rest.get(PageType::L3, None), Ok(Get::Drain));
    assert_eq!(rest.get(PageType::Writable, None), Ok(Get::Drain));
}

#[test]
fn a_second_unpin_is_refused() {
    let pinned = table(PageType::L2).pin().unwrap();
    assert_eq!(pinned.pin(), Err(TypeError::AlreadyPinned));
    let unpinned = pinned.unpin().unwrap();
    assert_eq!(unpinned.unpin(), Err(TypeError::NotPinned));
}

#[test]
fn giving_back_what_nobody_holds_is_noticed() {
    assert_eq!(TypeState::FRESH.put(false), Err(TypeError::Underflow));
}

#[test]
fn a_failed_transition_leaves_the_word_alone() {
    let word = TypeWord::default();
    word.store(table(PageType::L2));
    let refused = word.change(|s| s.get(PageType::L1, None).map(|g| (Some(counted(g)), ())));
    assert!(refused.is_err());
    assert_eq!(word.load(), table(PageType::L2));
}

/// Any state that the machine can be in.
fn any_state() -> impl Strategy<Value = TypeState> {
    let low = prop_oneof![
        any::<u32>().prop_map(u64::from),
        (0u64..=512).prop_map(|done| super::PARTIAL | done),
        proptest::prelude::Just(super::VALIDATING),
    ];
    let above = super::PINNED | super::FOREIGN | 0xffff << super::GENERATION_SHIFT;
    (0u64..8, low, any::<u64>()).prop_map(move |(ty, low, high)| {
        let ty = (PageType::from_bits(ty) as u64) << super::TYPE_SHIFT;
        TypeState(high & above | low | ty)
    })
}

proptest! {
    #[test]
    fn get_then_put_changes_no_count(state in any_state(), bits in any::<u64>()) {
        if let Ok(Get::Counted(more)) = state.get(PageType::from_bits(bits), None) {
            match more.put(false).unwrap() {
                Put::Counted(back) | Put::Idle(back) => assert_eq!(back.count(), state.count()),
                Put::Drain(_) => panic!("a table is never counted from idle"),
            }
        }
    }

    #[test]
    fn the_short_ways_agree_with_the_machine(state in any_state(), bits in any::<u64>()) {
        let want = PageType::from_bits(bits);
        let word = TypeWord::default();
        word.store(state);
        if word.get_shared(want) {
            assert_eq!(state.get(want, None), Ok(Get::Counted(word.load())));
        }
        word.store(state);
        if word.put_shared() {
            assert_eq!(state.put(false), Ok(Put::Counted(word.load())));
        }
    }

    #[test]
    fn no_transition_touches_what_it_should_not(state in any_state(), foreign in any::<bool>()) {
        if let Ok(Put::Counted(less)) = state.put(foreign) {
            assert_eq!((less.ty(), less.phase()), (state.ty(), state.phase()));
            assert_eq!(less.is_pinned(), state.is_pinned());
            assert_eq!(less.count() + 1, state.count());
        }
        let rest = state.suspend(77);
        assert_eq!((rest.ty(), rest.phase()), (state.ty(), Phase::Partial(77)));
        assert_eq!(rest.count(), 0);
        let idle = state.drained();
        assert!(idle.is_idle() && !idle.is_pinned());
        assert_ne!(idle.generation(), state.generation());
    }
}
