//! Another instance takes over: nothing is lost, nothing is done twice.

use super::SETUPS;
use crate::blkback::testing::{Event, Rig, Setup, segment, transfer};
use crate::xenbus::{End, Wish};
use guest_abi::io::blkif::{BlkOperation, BlkStatus};

#[test]
fn requests_under_way_are_finished_and_those_in_the_ring_are_left_for_the_next() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, _) = rig.front.grant();
        let write = |id: u64| transfer(BlkOperation::Write, id, id * 16, &[segment(grant, 0, 7)]);
        rig.disk.holding.set(true);
        for id in 0..5 {
            rig.ask(&write(id));
        }
        rig.control.wish(Wish::HandOver);
        assert_eq!(rig.run(), None);
        for id in 5..20 {
            rig.front.push(0, &write(id));
        }
        rig.front.publish(0);
        assert_eq!(rig.run(), None);
        rig.disk.release_all();
        assert_eq!(rig.run(), Some(Ok(End::HandedOver)));
        assert_eq!(rig.host.mapped(), 0);
        assert_eq!(rig.disk.events().len(), 5);
        rig.disk.holding.set(false);
        rig.take_over();
        let responses = rig.front.responses(0);
        let ids: Vec<u64> = responses.iter().map(|response| response.id).collect();
        assert_eq!(ids, (0..20).collect::<Vec<_>>());
        let events: Vec<_> = (5..20).map(|id| Event::Write(id * 16, 8, false)).collect();
        assert_eq!(rig.disk.events(), events);
    }
}

#[test]
fn a_barrier_that_waits_is_finished_before_handing_over() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    rig.disk.holding.set(true);
    rig.front
        .push(0, &transfer(BlkOperation::Write, 1, 0, &data));
    rig.ask(&transfer(BlkOperation::WriteBarrier, 2, 8, &data));
    rig.control.wish(Wish::HandOver);
    let mut end = None;
    while end.is_none() {
        assert!(rig.disk.held() > 0);
        rig.disk.release(0);
        end = rig.run();
    }
    assert_eq!(end, Some(Ok(End::HandedOver)));
    assert_eq!(rig.front.responses(0).len(), 2);
}

#[test]
fn a_thousand_restarts_under_load_lose_nothing() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, _) = rig.front.grant();
        let (mut asked, mut answered) = (0, Vec::new());
        for round in 0..250_usize {
            for _ in 0..round % 7 {
                let read = transfer(
                    BlkOperation::Read,
                    asked,
                    asked % 64,
                    &[segment(grant, 0, 3)],
                );
                rig.front.push(0, &read);
                asked += 1;
            }
            rig.front.publish(0);
            if round % 3 == 0 {
                rig.run();
            }
            rig.restart();
            answered.extend(rig.front.responses(0));
        }
        let ids: Vec<u64> = answered.iter().map(|response| response.id).collect();
        assert_eq!(ids, (0..asked).collect::<Vec<_>>());
        assert!(
            answered
                .iter()
                .all(|r| r.status == BlkStatus::Okay.number())
        );
    }
}
