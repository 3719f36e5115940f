//! The page-table code against the model, and its rules one by one.

use guest_abi::frame::Mfn;
use guest_abi::mmu::Pte;
use proptest::prelude::{ProptestConfig, proptest};

use super::entry::Level;
use super::model::{FRAMES, HOST_L1, Op, World, any_op};
use super::test_machine::{GUEST, HOST, TestMachine, pte, slot};
use super::update::Bits;
use super::{Refusal, TableError, Tables};
use crate::mm::machine::Machine;
use crate::mm::page_type::Scope;
use crate::mm::page_type::TypeError;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn counts_always_equal_a_naive_recount(
        budget in 140u32..400,
        trees in 0u64..4,
        ops in proptest::collection::vec(any_op(), 1..120),
    ) {
        let mut world = World::new(budget);
        for tree in 0..trees {
            world.plant(tree);
        }
        for op in ops {
            world.run(op);
            world.check();
        }
        world.tear_down();
    }
}

/// A chain of tables in frames 0 (L4) to 3 (L1), the L1 mapping frame 4 writable.
fn chain() -> World {
    let world = World::new(10_000);
    for frame in 0..4 {
        world.machine.poke(frame, 1, pte(frame + 1, 7).get());
    }
    world
}

#[test]
fn pinning_a_root_checks_everything_below_and_unpinning_frees_it() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    world.check();
    assert_eq!(
        world.machine.pages[3].ty.load().live_table(),
        Some(Level::L1)
    );
    assert!(world.machine.peek(0, 256).is_present());
    world.run(Op::Unpin(0));
    world.run(Op::Drain);
    world.check();
    assert!((0..5).all(|f| world.machine.pages[f].ty.load().is_idle()));
}

#[test]
fn a_tree_with_a_writable_alias_of_one_of_its_tables_is_refused() {
    for table in 0..4 {
        let mut world = chain();
        world.machine.poke(3, 0, pte(table, 3).get());
        let refused = world.retry(1, |s| s.pin(Mfn::new(0), Level::L4));
        assert_eq!(
            refused,
            Err(TableError::Refused(Refusal::Type(
                Mfn::new(table),
                TypeError::Busy
            )))
        );
        world.run(Op::Drain);
        world.check();
        world.tear_down();
    }
}

#[test]
fn a_table_that_points_at_itself_is_refused_at_every_level() {
    for level in [Level::L2, Level::L3, Level::L4] {
        let mut world = World::new(10_000);
        world.machine.poke(0, 0, pte(0, 7).get());
        assert!(world.retry(1, |s| s.pin(Mfn::new(0), level)).is_err());
        world.run(Op::Drain);
        world.check();
    }
}

#[test]
fn the_cores_slots_cannot_be_written() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    for index in [256, 263, 271] {
        let refused = world.retry(1, |s| {
            s.update(slot(0, index), pte(1, 7), GUEST, Bits::AsGiven)
        });
        assert_eq!(refused, Err(TableError::Refused(Refusal::CoreSlot)));
    }
}

#[test]
fn a_superpage_is_refused_by_update_and_by_validation() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    let refused = world.retry(1, |s| {
        s.update(slot(2, 0), pte(5, 0x87), GUEST, Bits::AsGiven)
    });
    assert!(matches!(
        refused,
        Err(TableError::Refused(Refusal::Bits(Level::L2, _)))
    ));
    // The same frame, only the flag changes.
    let refused = world.retry(1, |s| {
        s.update(slot(2, 1), pte(3, 0x87), GUEST, Bits::AsGiven)
    });
    assert!(refused.is_err());
    world.check();
}

#[test]
fn an_entry_of_an_untyped_page_is_a_plain_write() {
    let mut world = World::new(1_000);
    let garbage = pte(0x3fff_ffff, 0x1ff);
    world
        .retry(1, |s| s.update(slot(5, 7), garbage, GUEST, Bits::AsGiven))
        .unwrap();
    assert_eq!(world.machine.peek(5, 7), garbage);
    world.check();
}

#[test]
fn a_page_that_was_writable_is_flushed_when_it_becomes_a_table() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    let before = world.machine.flushes.get();
    // Frame 4 was mapped writable; now it is not, and becomes an L1.
    world.run(Op::Update(3, 1, pte(4, 1), false));
    world.run(Op::Pin(4, Level::L1));
    assert_eq!(world.machine.flushes.get(), before + 1);
    // And back again: its stale entries may be cached.
    world.run(Op::Unpin(4));
    world.run(Op::Drain);
    world.run(Op::Update(3, 1, pte(4, 3), false));
    assert_eq!(world.machine.flushes.get(), before + 2);
    world.check();
}

#[test]
fn a_guest_frame_beyond_memory_or_of_a_device_is_refused() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    for frame in [FRAMES, 0x1000, 0xff_ffff_ffff] {
        let refused = world.retry(1, |s| {
            s.update(slot(3, 9), pte(frame, 3), GUEST, Bits::AsGiven)
        });
        assert_eq!(
            refused,
            Err(TableError::Refused(Refusal::Device(Mfn::new(frame))))
        );
    }
    world.host_update(9, pte(0x1000, 3 | 0x18), HOST);
    assert_eq!(world.machine.peek(HOST_L1, 9).frame(), Mfn::new(0x1000));
    world.check();
}

#[test]
fn a_page_given_up_while_mapped_is_freed_with_the_last_mapping() {
    let mut world = chain();
    world.run(Op::Pin(0, Level::L4));
    world.run(Op::ForeignMap(0, 4, true));
    world.run(Op::GiveUp(4));
    world.run(Op::Update(3, 1, Pte::EMPTY, false));
    assert!(world.machine.released.borrow().is_empty());
    world.run(Op::ForeignUnmap(0));
    assert!(world.machine.released.borrow().contains(&4));
}

/// Frame 8 is an L2 whose only user is a partial L3 in frame 15. An update of frame 8 that points
/// it at frame 15 takes that L3 apart, so the last user goes in the middle of the update; and
/// frame 15 as an L1 would then map frame 8 writable.
#[test]
fn a_table_stays_one_while_it_is_updated() {
    let mut world = World::new(140);
    for op in [
        Op::NewRoot(10),
        Op::Poke(15, 0, pte(8, 3)),
        Op::Update(10, 272, pte(15, 1), false),
        Op::NewRoot(0),
        Op::Pin(10, Level::L1),
    ] {
        world.run(op);
        world.check();
    }
    let refused = world.retry(1, |s| {
        s.update(slot(8, 0), pte(15, 1), GUEST, Bits::AsGiven)
    });
    assert!(refused.is_err());
    assert!(!world.machine.peek(8, 0).is_present());
    world.check();
    world.tear_down();
}

/// The host maps frame 0 writable and unmaps it again.
fn visit(machine: &TestMachine) {
    let frame = Mfn::new(0);
    machine.with(HOST, &mut Tables::new(), 0, |space| {
        let page = space.get_writable(frame, GUEST).unwrap();
        space.put_writable(frame, page);
    });
}

#[test]
fn a_foreign_user_who_comes_and_goes_during_the_last_put_leaves_its_stamp() {
    let (machine, frame) = (TestMachine::new(1), Mfn::new(0));
    let mut tables = Tables::new();
    machine.with(GUEST, &mut tables, 0, |space| {
        let page = space.get_writable(frame, GUEST).unwrap();
        visit(&machine);
        machine.meanwhile.set(Some(|machine| {
            // Every CPU is flushed, and only then is the frame used once more.
            machine.flush(&machine.owner(HOST), Scope::Everyone, u64::MAX);
            visit(machine);
        }));
        space.put_writable(frame, page);
    });
    assert!(machine.pages[0].ty.load().is_idle());
    assert_eq!(machine.pages[0].stamp(), machine.clock());
}
