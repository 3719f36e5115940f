//! Data goes where it should.

use crate::blkback::testing::{Rig, Setup, segment, transfer};
use crate::host::{SECTOR_SIZE, SharedPage};
use guest_abi::io::blkif::{BlkOperation, BlkStatus};

const SETUPS: [Setup; 2] = [
    Setup {
        queues: 1,
        order: 0,
        persistent: true,
    },
    Setup {
        queues: 1,
        order: 0,
        persistent: false,
    },
];

#[test]
fn a_written_sector_is_read_back() {
    for setup in SETUPS {
        let mut rig = Rig::connected(setup);
        let (grant, page) = rig.front.grant();
        page.copy_to(512, b"hello");
        let write = transfer(BlkOperation::Write, 7, 5, &[segment(grant, 1, 1)]);
        let response = rig.answer(&write);
        assert_eq!(
            (response.id, response.operation),
            (7, BlkOperation::Write.number())
        );
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
