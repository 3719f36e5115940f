//! The rules of the block backend, seen from a guest and from a disk.

mod transfers;
