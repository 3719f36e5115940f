//! A guest that does what a test tells it, a disk that ends requests when told, and a rig that
//! puts both around a backend.

mod disk;
mod front;
mod requests;
mod rig;

pub use disk::{Event, HeldDisk};
pub use front::{FakeFront, Setup};
pub use requests::{RawSlot, discard, flush, indirect, segment, transfer};
pub use rig::Rig;
