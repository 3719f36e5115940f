//! What a request costs, for callgrind to count:
//!
//! ```sh
//! cargo test -p backends --release --no-run
//! valgrind --tool=callgrind --toggle-collect='*Server*turn*' TEST-BINARY --ignored cost_of_reads
//! ```

use crate::blkback::testing::{Rig, Setup, segment, transfer};
use guest_abi::io::blkif::BlkOperation;

/// How many.
const READS: u64 = 10_000;

#[test]
#[ignore = "asserts nothing: a load to be measured"]
fn cost_of_reads() {
    let mut rig = Rig::connected(Setup::default());
    let (grant, _) = rig.front.grant();
    rig.disk.holding.set(true);
    for id in 0..READS {
        let read = transfer(
            BlkOperation::Read,
            id,
            id % 256 * 8,
            &[segment(grant, 0, 7)],
        );
        rig.ask(&read);
        rig.disk.release(0);
        rig.run();
        assert_eq!(rig.front.responses(0).len(), 1);
    }
}
