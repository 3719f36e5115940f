//! What flushes and barriers promise.

use crate::blkback::testing::{Event, Rig, Setup, flush, segment, transfer};
use guest_abi::io::blkif::{BlkOperation, BlkStatus};

/// A guest whose disk holds requests back, and one page of its.
fn held() -> (Rig, impl Fn(BlkOperation, u64, u64) -> [u8; 112]) {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    rig.disk.holding.set(true);
    (rig, move |op, id, sector| {
        transfer(op, id, sector, &[segment(grant, 0, 7)])
    })
}

fn ids(rig: &mut Rig) -> Vec<u64> {
    rig.front.responses(0).iter().map(|r| r.id).collect()
}

#[test]
fn a_flush_goes_beside_what_is_under_way() {
    let (mut rig, request) = held();
    rig.ask(&request(BlkOperation::Write, 1, 0));
    rig.ask(&flush(2));
    rig.ask(&request(BlkOperation::Read, 3, 64));
    let expected = [Event::Write(0, 8, false), Event::Flush, Event::Read(64, 8)];
    assert_eq!(rig.disk.events(), expected);
    rig.disk.release(1);
    rig.run();
    assert_eq!(ids(&mut rig), [2]);
}

#[test]
fn a_barrier_waits_for_what_came_before_and_holds_what_comes_after() {
    let (mut rig, request) = held();
    rig.front.push(0, &request(BlkOperation::Write, 1, 0));
    rig.front.push(0, &request(BlkOperation::Read, 2, 64));
    rig.front
        .push(0, &request(BlkOperation::WriteBarrier, 3, 128));
    rig.ask(&request(BlkOperation::Write, 4, 0));
    let before = [Event::Write(0, 8, false), Event::Read(64, 8)];
    assert_eq!(rig.disk.events(), before);
    rig.disk.release(0);
    rig.run();
    assert_eq!(rig.disk.events(), []);
    rig.disk.release(0);
    rig.run();
    assert_eq!(rig.disk.events(), [Event::Flush]);
    rig.disk.release(0);
    rig.run();
    assert_eq!(rig.disk.events(), [Event::Write(128, 8, true)]);
    assert_eq!(ids(&mut rig), [1, 2]);
    rig.disk.release(0);
    rig.run();
    assert_eq!(ids(&mut rig), [3]);
    assert_eq!(rig.disk.events(), [Event::Write(0, 8, false)]);
    rig.disk.release(0);
    rig.run();
    assert_eq!(ids(&mut rig), [4]);
}

#[test]
fn a_barrier_in_one_queue_holds_the_others() {
    let mut rig = Rig::connected(Setup {
        queues: 2,
        ..Setup::default()
    });
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    rig.disk.holding.set(true);
    rig.front
        .push(1, &transfer(BlkOperation::Write, 1, 0, &data));
    rig.front.publish(1);
    rig.run();
    rig.ask(&transfer(BlkOperation::WriteBarrier, 2, 8, &data));
    rig.front
        .push(1, &transfer(BlkOperation::Write, 3, 16, &data));
    rig.front.publish(1);
    rig.run();
    assert_eq!(rig.disk.events(), [Event::Write(0, 8, false)]);
    let mut order = Vec::new();
    while rig.disk.held() > 0 {
        rig.disk.release(0);
        rig.run();
        order.extend(rig.disk.events());
    }
    let expected = [
        Event::Flush,
        Event::Write(8, 8, true),
        Event::Write(16, 8, false),
    ];
    assert_eq!(order, expected);
    assert_eq!(rig.front.responses(1).len(), 2);
}

#[test]
fn an_empty_barrier_is_a_flush_in_its_place() {
    let (mut rig, request) = held();
    rig.front.push(0, &request(BlkOperation::Write, 1, 0));
    rig.ask(&transfer(BlkOperation::WriteBarrier, 2, 0, &[]));
    assert_eq!(rig.disk.events(), [Event::Write(0, 8, false)]);
    rig.disk.release(0);
    rig.run();
    assert_eq!(rig.disk.events(), [Event::Flush]);
    rig.disk.release(0);
    rig.run();
    assert_eq!(ids(&mut rig), [1, 2]);
}

#[test]
fn nothing_is_flushed_twice_for_a_barrier() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    let barrier = transfer(BlkOperation::WriteBarrier, 1, 0, &data);
    // The instance before us may have left something behind.
    rig.status(&barrier);
    assert_eq!(rig.disk.events(), [Event::Flush, Event::Write(0, 8, true)]);
    rig.status(&barrier);
    assert_eq!(rig.disk.events(), [Event::Write(0, 8, true)]);
    rig.status(&transfer(BlkOperation::WriteBarrier, 1, 0, &[]));
    assert_eq!(rig.disk.events(), []);
    rig.status(&transfer(BlkOperation::Write, 1, 0, &data));
    rig.status(&barrier);
    let all = [
        Event::Write(0, 8, false),
        Event::Flush,
        Event::Write(0, 8, true),
    ];
    assert_eq!(rig.disk.events(), all);
    assert_eq!(rig.status(&flush(2)), BlkStatus::Okay);
    assert_eq!(rig.disk.events(), [Event::Flush]);
}

#[test]
fn a_write_that_ends_during_a_flush_is_not_taken_as_flushed() {
    let (mut rig, request) = held();
    rig.ask(&request(BlkOperation::Write, 1, 0));
    rig.ask(&flush(2));
    rig.disk.release_all();
    rig.run();
    let _ = rig.disk.events();
    rig.ask(&request(BlkOperation::WriteBarrier, 3, 8));
    assert_eq!(rig.disk.events(), [Event::Flush]);
}

#[test]
fn a_barrier_whose_flush_failed_is_not_written() {
    let (mut rig, request) = held();
    rig.ask(&request(BlkOperation::WriteBarrier, 1, 8));
    rig.disk.inner.failure.set(Some(crate::host::DiskError::Io));
    rig.disk.release(0);
    rig.run();
    let responses = rig.front.responses(0);
    assert_eq!(responses[0].status, BlkStatus::Error.number());
    assert_eq!(rig.disk.events(), [Event::Flush]);
    // The way is free again.
    rig.disk.inner.failure.set(None);
    rig.disk.holding.set(false);
    let read = request(BlkOperation::Read, 2, 0);
    assert_eq!(rig.status(&read), BlkStatus::Okay);
}

#[test]
fn barriers_on_a_disk_that_never_waits_are_all_answered() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    for id in 0..24 {
        let op = match id % 3 {
            0 => BlkOperation::Write,
            1 => BlkOperation::WriteBarrier,
            _ => BlkOperation::Read,
        };
        rig.front.push(0, &transfer(op, id, id * 16, &data));
    }
    rig.front.publish(0);
    rig.run();
    assert_eq!(ids(&mut rig), (0..24).collect::<Vec<_>>());
}
