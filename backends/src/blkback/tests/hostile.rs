//! Guests that do everything wrong: each loses its own device, or its own request.

use super::SETUPS;
use crate::blkback::testing::{Rig, Setup, flush, indirect, segment, transfer};
use crate::host::SharedPage;
use crate::xenbus::{End, Wish};
use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{BlkOperation, BlkStatus};
use guest_abi::io::xenbus::XenbusState;
use guest_abi::zerocopy::IntoBytes;

#[test]
fn a_jump_of_the_producers_index_costs_the_device() {
    for jump in [33, 34, 1000, 0x8000_0000, u32::MAX] {
        let mut rig = Rig::connected(Setup::default());
        rig.front.jump(0, jump);
        assert_eq!(rig.run(), None);
        assert_eq!(rig.state(), XenbusState::Closing);
        let error = rig.error().unwrap();
        let expected = format!("ring 0 claims {jump} requests where 32 are possible");
        assert_eq!(error, expected);
        assert_eq!(rig.host.mapped(), 0);
        assert!(!rig.front.channel(0).is_open());
    }
}

#[test]
fn a_jump_does_not_tear_down_what_the_disk_still_works_on() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    rig.disk.holding.set(true);
    rig.ask(&transfer(
        BlkOperation::Write,
        1,
        0,
        &[segment(grant, 0, 7)],
    ));
    rig.front.jump(0, 100);
    rig.run();
    assert_eq!(rig.state(), XenbusState::Connected);
    rig.disk.release_all();
    rig.run();
    assert_eq!(rig.state(), XenbusState::Closing);
    assert_eq!(rig.host.mapped(), 0);
}

#[test]
fn a_ring_that_was_wrong_from_the_beginning_is_refused() {
    let mut rig = Rig::new();
    rig.front.make_rings(Setup::default());
    rig.front.jump(0, 40);
    rig.front.state(XenbusState::Initialised);
    rig.run();
    assert_eq!(rig.state(), XenbusState::Closing);
    let error = rig.error().unwrap();
    assert_eq!(error, "ring claims 40 requests where 32 are possible");
}

#[test]
fn unknown_operations_are_not_supported() {
    let mut rig = Rig::connected(Setup::default());
    for number in [4, 7, 8, 0x55, 0xff] {
        let mut request = flush(77);
        request[0] = number;
        let response = rig.answer(&request);
        let expected = (77, number, BlkStatus::Eopnotsupp.number());
        assert_eq!((response.id, response.operation, response.status), expected);
    }
}

#[test]
fn a_segment_outside_its_page_is_refused() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, _) = rig.front.grant();
        for (first, last) in [(0, 8), (7, 8), (3, 2), (255, 255), (0, 255), (8, 8)] {
            let read = transfer(BlkOperation::Read, 1, 0, &[segment(grant, first, last)]);
            assert_eq!(rig.status(&read), BlkStatus::Error, "{first} to {last}");
        }
        assert_eq!(rig.disk.events(), []);
    }
}

#[test]
fn sectors_beyond_the_end_are_refused() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    for sector in [2041, 2048, 1 << 40, u64::MAX - 6, u64::MAX] {
        for op in [BlkOperation::Read, BlkOperation::Write] {
            let request = transfer(op, 1, sector, &[segment(grant, 0, 7)]);
            assert_eq!(rig.status(&request), BlkStatus::Error, "{sector}");
        }
    }
    let last = transfer(BlkOperation::Read, 1, 2040, &[segment(grant, 0, 7)]);
    assert_eq!(rig.status(&last), BlkStatus::Okay);
}

#[test]
fn too_many_or_too_few_segments_are_refused() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    for count in [0, 12, 255] {
        let segments = vec![segment(grant, 0, 0); count];
        for op in [BlkOperation::Read, BlkOperation::Write] {
            let request = transfer(op, 1, 0, &segments);
            assert_eq!(rig.status(&request), BlkStatus::Error, "{count}");
        }
    }
    for count in [0, 257, 4096, u16::MAX] {
        let request = indirect(BlkOperation::Write, 1, 0, count, grant);
        assert_eq!(rig.status(&request), BlkStatus::Error, "{count}");
    }
}

#[test]
fn only_reads_and_writes_may_be_indirect() {
    let mut rig = Rig::connected(Setup::default());
    let (list, page) = rig.front.grant();
    page.copy_to(0, segment(list, 0, 0).as_bytes());
    for op in [
        BlkOperation::Indirect,
        BlkOperation::WriteBarrier,
        BlkOperation::FlushDiskcache,
        BlkOperation::Discard,
    ] {
        let request = indirect(op, 1, 0, 1, list);
        assert_eq!(rig.status(&request), BlkStatus::Error, "{op:?}");
    }
}

#[test]
fn grants_that_are_none_are_refused() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let before = rig.host.mapped();
        let (good, page) = rig.front.grant();
        for bad in [0, 5000, u32::MAX] {
            let bad = GrantRef::new(bad);
            let data = [segment(good, 0, 7), segment(bad, 0, 7)];
            let request = transfer(BlkOperation::Write, 1, 0, &data);
            assert_eq!(rig.status(&request), BlkStatus::Error);
            let request = indirect(BlkOperation::Read, 1, 0, 1, bad);
            assert_eq!(rig.status(&request), BlkStatus::Error);
            page.copy_to(0, segment(bad, 0, 7).as_bytes());
            let request = indirect(BlkOperation::Read, 1, 0, 1, good);
            assert_eq!(rig.status(&request), BlkStatus::Error);
        }
        assert_eq!(rig.disk.events(), []);
        assert!(rig.host.mapped() <= before + 1);
    }
}

#[test]
fn the_same_grant_twice_harms_only_its_owner() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        rig.disk.inner.with_bytes(|bytes| bytes[4096..8192].fill(2));
        let (grant, page) = rig.front.grant();
        let data = [segment(grant, 0, 7), segment(grant, 0, 7)];
        let read = transfer(BlkOperation::Read, 1, 0, &data);
        assert_eq!(rig.status(&read), BlkStatus::Okay);
        let mut byte = [0];
        page.copy_from(100, &mut byte);
        assert_eq!(byte, [2]);
    }
}

#[test]
fn a_list_of_segments_that_is_its_own_data_is_read_once() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        rig.disk.inner.with_bytes(|bytes| bytes.fill(0xff));
        let (list, page) = rig.front.grant();
        page.copy_to(0, segment(list, 0, 7).as_bytes());
        // The first read overwrites the list with nonsense; the second one is refused.
        let read = indirect(BlkOperation::Read, 1, 0, 1, list);
        assert_eq!(rig.status(&read), BlkStatus::Okay);
        assert_eq!(rig.status(&read), BlkStatus::Error);
    }
}

#[test]
fn a_request_changed_after_it_was_taken_is_done_as_it_was() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    rig.disk.holding.set(true);
    rig.ask(&transfer(BlkOperation::Read, 1, 0, &[segment(grant, 0, 7)]));
    let other = transfer(BlkOperation::Write, 9, u64::MAX, &[segment(grant, 9, 9)]);
    rig.front.overwrite(0, 0, &other);
    rig.disk.release_all();
    rig.run();
    let responses = rig.front.responses(0);
    let expected = (1, BlkOperation::Read.number(), BlkStatus::Okay.number());
    let [response] = responses[..] else {
        panic!("{responses:?}")
    };
    assert_eq!((response.id, response.operation, response.status), expected);
}

#[test]
fn grants_revoked_while_mapped_stay_mapped() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, page) = rig.front.grant();
        page.copy_to(0, b"data");
        rig.disk.holding.set(true);
        rig.ask(&transfer(
            BlkOperation::Write,
            1,
            0,
            &[segment(grant, 0, 7)],
        ));
        rig.front.revoke(grant);
        rig.disk.release_all();
        rig.run();
        assert_eq!(rig.front.responses(0)[0].status, BlkStatus::Okay.number());
        rig.disk
            .inner
            .with_bytes(|bytes| assert_eq!(&bytes[..4], b"data"));
    }
}

#[test]
fn answers_nobody_reads_do_no_harm() {
    let mut rig = Rig::connected(Setup::default());
    // A guest may push as long as we have answered, read or unread.
    for round in 0..100 {
        (0..32).for_each(|id| rig.front.push(0, &flush(round * 32 + id)));
        rig.front.publish(0);
        assert_eq!(rig.run(), None);
    }
    assert_eq!(rig.state(), XenbusState::Connected);
    assert_eq!(rig.blkback.statistics().flushes, 3200);
}

#[test]
fn a_thousand_bad_requests_leave_nothing_behind() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let before = rig.host.mapped();
        for id in 0..1000 {
            let bad = segment(GrantRef::new(0), 0, 7);
            let request = transfer(BlkOperation::Write, id, 0, &[bad]);
            assert_eq!(rig.status(&request), BlkStatus::Error);
        }
        assert_eq!(rig.host.mapped(), before);
        assert_eq!(rig.blkback.statistics().errors, 1000);
    }
}

#[test]
fn states_driven_backwards_end_the_connection_only() {
    for state in [
        XenbusState::Unknown,
        XenbusState::Initialising,
        XenbusState::InitWait,
        XenbusState::Closing,
        XenbusState::Closed,
        XenbusState::Reconfiguring,
        XenbusState::Reconfigured,
    ] {
        let mut rig = Rig::connected(Setup::default());
        let (grant, _) = rig.front.grant();
        rig.disk.holding.set(true);
        rig.ask(&transfer(
            BlkOperation::Write,
            1,
            0,
            &[segment(grant, 0, 7)],
        ));
        rig.front.state(state);
        assert_eq!(rig.run(), None);
        // Not before the disk has let go of the guest's page.
        assert!(rig.host.mapped() > 0);
        rig.disk.release_all();
        assert_eq!(rig.run(), None);
        assert_eq!(rig.host.mapped(), 0, "{state:?}");
        rig.front.state(XenbusState::Closed);
        rig.run();
        rig.control.wish(Wish::Detach);
        assert_eq!(rig.run(), Some(Ok(End::Closed)));
    }
}
