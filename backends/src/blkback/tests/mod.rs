//! The rules of the block backend, seen from a guest and from a disk.

mod connecting;
mod cost;
mod flow;
mod hostile;
mod model;
mod ordering;
mod races;
mod restart;
mod transfers;

use crate::blkback::testing::Setup;

/// Every way to share pages.
const SETUPS: [Setup; 4] = [
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
    Setup {
        queues: 2,
        order: 1,
        persistent: false,
    },
    Setup {
        queues: 4,
        order: 4,
        persistent: true,
    },
];

/// A guest with its own data pages, not shared with other requests.
const OWN_PAGES: Setup = Setup {
    queues: 1,
    order: 0,
    persistent: false,
};
