//! Data goes where it should.

use super::{OWN_PAGES, SETUPS};
use crate::blkback::Options;
use crate::blkback::testing::{Event, Rig, Setup, discard, flush, indirect, segment, transfer};
use crate::host::fake::FakeDisk;
use crate::host::{Access, DiskError, SECTOR_SIZE, SharedPage};
use guest_abi::io::blkif::{BlkOperation, BlkStatus, DISCARD_SECURE};
use guest_abi::zerocopy::IntoBytes;

#[test]
fn a_written_sector_is_read_back() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, page) = rig.front.grant();
        page.copy_to(512, b"hello");
        let write = transfer(BlkOperation::Write, 7, 5, &[segment(grant, 1, 1)]);
        let response = rig.answer(&write);
        let expected = (7, BlkOperation::Write.number());
        assert_eq!((response.id, response.operation), expected);
        assert_eq!(response.status, BlkStatus::Okay.number());
        rig.disk.inner.with_bytes(|bytes| {
            assert_eq!(&bytes[5 * SECTOR_SIZE..][..5], b"hello");
        });
        let (grant, page) = rig.front.grant();
        let read = transfer(BlkOperation::Read, 8, 5, &[segment(grant, 3, 3)]);
        assert_eq!(rig.status(&read), BlkStatus::Okay);
        let mut bytes = [0; 5];
        page.copy_from(3 * SECTOR_SIZE, &mut bytes);
        assert_eq!(&bytes, b"hello");
    }
}

#[test]
fn every_queue_is_served() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        for queue in 0..usize::try_from(setup.queues).unwrap() {
            let (grant, _) = rig.front.grant();
            let read = transfer(BlkOperation::Read, 9, 0, &[segment(grant, 0, 7)]);
            for _ in 0..100 {
                rig.front.push(queue, &read);
                rig.front.publish(queue);
                rig.run();
                assert_eq!(rig.front.responses(queue).len(), 1);
            }
        }
    }
}

#[test]
fn an_indirect_request_moves_a_mebibyte() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (list, list_page) = rig.front.grant();
        let mut pages = Vec::new();
        for n in 0..256_usize {
            let (grant, page) = rig.front.grant();
            page.copy_to(0, &[u8::try_from(n).unwrap(); 4096]);
            list_page.copy_to(n * 8, segment(grant, 0, 7).as_bytes());
            pages.push(page);
        }
        let write = indirect(BlkOperation::Write, 1, 0, 256, list);
        let response = rig.answer(&write);
        assert_eq!(response.operation, BlkOperation::Write.number());
        assert_eq!(response.status, BlkStatus::Okay.number());
        rig.disk.inner.with_bytes(|bytes| {
            assert!((0..256_usize).all(|n| usize::from(bytes[n * 4096 + 17]) == n));
        });
        assert_eq!(rig.disk.events(), [Event::Write(0, 2048, false)]);
        pages.iter().for_each(|page| page.copy_to(0, &[0; 4096]));
        let read = indirect(BlkOperation::Read, 2, 0, 256, list);
        assert_eq!(rig.status(&read), BlkStatus::Okay);
        let mut byte = [0];
        pages[200].copy_from(99, &mut byte);
        assert_eq!(byte, [200]);
    }
}

#[test]
fn neighbours_asked_for_together_are_done_together() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, page) = rig.front.grant();
    page.copy_to(0, b"same page");
    for (id, sector) in [(1, 8), (2, 16), (3, 24), (4, 40)] {
        let write = transfer(BlkOperation::Write, id, sector, &[segment(grant, 0, 7)]);
        rig.front.push(0, &write);
    }
    let read = transfer(BlkOperation::Read, 5, 48, &[segment(grant, 0, 7)]);
    rig.ask(&read);
    let expected = [
        Event::Write(8, 24, false),
        Event::Write(40, 8, false),
        Event::Read(48, 8),
    ];
    assert_eq!(rig.disk.events(), expected);
    let mut ids: Vec<u64> = rig.front.responses(0).iter().map(|r| r.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    assert_eq!(rig.blkback.statistics().merged, 2);
    assert_eq!(rig.disk.kicks.get(), 1);
}

#[test]
fn discarded_sectors_are_forgotten() {
    let mut rig = Rig::connected(Setup::default());
    rig.disk.inner.with_bytes(|bytes| bytes.fill(1));
    assert_eq!(rig.status(&discard(1, 8, 16, 0)), BlkStatus::Okay);
    rig.disk.inner.with_bytes(|bytes| {
        assert_eq!(bytes.iter().filter(|&&byte| byte == 0).count(), 16 * 512);
    });
    assert_eq!(rig.status(&discard(2, 0, 0, 0)), BlkStatus::Okay);
    assert_eq!(
        rig.status(&discard(3, 8, 8, DISCARD_SECURE)),
        BlkStatus::Eopnotsupp
    );
    assert_eq!(rig.status(&discard(4, 2047, 2, 0)), BlkStatus::Error);
    assert_eq!(rig.status(&discard(5, u64::MAX, 2, 0)), BlkStatus::Error);
}

#[test]
fn a_disk_that_can_not_discard_says_so() {
    let disk = FakeDisk::new(64).with_geometry(|geometry| geometry.discard_granularity = None);
    let mut rig = Rig::with(disk, Options::default());
    assert_eq!(rig.back("feature-discard").as_deref(), Some("0"));
    rig.connect(Setup::default());
    assert_eq!(rig.status(&discard(1, 0, 8, 0)), BlkStatus::Eopnotsupp);
}

#[test]
fn a_read_only_disk_is_only_read() {
    let options = Options {
        read_only: true,
        ..Options::default()
    };
    let mut rig = Rig::with(FakeDisk::new(64), options);
    rig.connect(Setup::default());
    assert_eq!(rig.back("info").as_deref(), Some("4"));
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    for (op, status) in [
        (BlkOperation::Read, BlkStatus::Okay),
        (BlkOperation::Write, BlkStatus::Error),
        (BlkOperation::WriteBarrier, BlkStatus::Error),
        (BlkOperation::FlushDiskcache, BlkStatus::Error),
    ] {
        assert_eq!(rig.status(&transfer(op, 1, 0, &data)), status);
    }
    assert_eq!(rig.status(&discard(2, 0, 8, 0)), BlkStatus::Eopnotsupp);
    assert_eq!(rig.status(&flush(3)), BlkStatus::Okay);
    rig.disk
        .inner
        .with_bytes(|bytes| assert!(bytes.iter().all(|&byte| byte == 0)));
}

#[test]
fn large_sectors_are_never_torn() {
    let disk = FakeDisk::new(64).with_geometry(|geometry| geometry.sector_size = 4096);
    let mut rig = Rig::with(disk, Options::default());
    rig.connect(Setup::default());
    assert_eq!(rig.back("sector-size").as_deref(), Some("4096"));
    let (grant, _) = rig.front.grant();
    for (sector, first, last, status) in [
        (8, 0, 7, BlkStatus::Okay),
        (4, 0, 7, BlkStatus::Error),
        (8, 0, 3, BlkStatus::Error),
        (8, 4, 7, BlkStatus::Error),
    ] {
        let write = transfer(
            BlkOperation::Write,
            1,
            sector,
            &[segment(grant, first, last)],
        );
        assert_eq!(rig.status(&write), status, "{sector} {first} {last}");
    }
    assert_eq!(rig.status(&discard(2, 8, 4, 0)), BlkStatus::Error);
}

#[test]
fn data_to_be_written_need_only_be_readable() {
    let mut rig = Rig::connected(OWN_PAGES);
    let (grant, page) = rig.front.grant_for(Access::ReadOnly);
    page.copy_to(0, b"x");
    let data = [segment(grant, 0, 7)];
    let write = transfer(BlkOperation::Write, 1, 0, &data);
    assert_eq!(rig.status(&write), BlkStatus::Okay);
    let read = transfer(BlkOperation::Read, 2, 0, &data);
    assert_eq!(rig.status(&read), BlkStatus::Error);
}

#[test]
fn pages_are_mapped_for_the_device_alone_when_nobody_else_looks_at_them() {
    for (looks, setup, expected) in [
        (false, OWN_PAGES, 2),
        (true, OWN_PAGES, 0),
        (false, Setup::default(), 0),
    ] {
        let mut rig = Rig::new();
        rig.disk.looks.set(looks);
        rig.connect(setup);
        let rings = rig.host.mapped();
        let (grant, _) = rig.front.grant();
        let data = [segment(grant, 0, 7), segment(grant, 0, 7)];
        rig.disk.holding.set(true);
        rig.ask(&transfer(BlkOperation::Read, 1, 0, &data));
        assert_eq!(rig.host.mapped_for_devices(), expected);
        assert!(rig.host.mapped() > rings, "mapped until the disk is done");
        rig.disk.release(0);
        rig.run();
        assert_eq!(rig.front.responses(0).len(), 1);
        assert_eq!(rig.host.mapped() > rings, setup.persistent);
    }
}

#[test]
fn errors_of_the_device_reach_the_guest() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    let data = [segment(grant, 0, 7)];
    for (error, of_data, of_others) in [
        (DiskError::Io, BlkStatus::Error, BlkStatus::Error),
        (DiskError::NoSpace, BlkStatus::Error, BlkStatus::Error),
        (
            DiskError::Unsupported,
            BlkStatus::Error,
            BlkStatus::Eopnotsupp,
        ),
    ] {
        rig.disk.inner.failure.set(Some(error));
        for op in [BlkOperation::Read, BlkOperation::Write] {
            assert_eq!(rig.status(&transfer(op, 1, 0, &data)), of_data);
        }
        assert_eq!(rig.status(&flush(2)), of_others);
        assert_eq!(rig.status(&discard(3, 0, 8, 0)), of_others);
        let barrier = transfer(BlkOperation::WriteBarrier, 4, 0, &data);
        assert_eq!(rig.status(&barrier), of_others);
        let barrier = transfer(BlkOperation::WriteBarrier, 5, 0, &[]);
        assert_eq!(rig.status(&barrier), of_others);
    }
    rig.disk.inner.failure.set(None);
    let read = transfer(BlkOperation::Read, 6, 0, &data);
    assert_eq!(rig.status(&read), BlkStatus::Okay);
    assert_eq!(rig.blkback.statistics().errors, 18);
}

#[test]
fn the_device_counts_what_it_does() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    rig.status(&transfer(BlkOperation::Read, 1, 0, &[segment(grant, 0, 7)]));
    rig.status(&transfer(
        BlkOperation::Write,
        2,
        0,
        &[segment(grant, 0, 0)],
    ));
    rig.status(&flush(3));
    rig.status(&discard(4, 0, 8, 0));
    let statistics = rig.blkback.statistics();
    assert_eq!((statistics.reads, statistics.sectors_read), (1, 8));
    assert_eq!((statistics.writes, statistics.sectors_written), (1, 1));
    assert_eq!((statistics.flushes, statistics.discards), (1, 1));
    assert_eq!(statistics.errors, 0);
}
