//! The xenstore server: a small tree of values through which domains find each other.
//!
//! ```text
//!   ring page ──bytes──▶ connection ──message──▶ serve ──▶ store ──▶ edit ──▶ tree
//!       ▲                    ▲                              │ changes
//!       └──────bytes─────────┴──────── events ◀── watch ◀───┘
//! ```
//!
//! Who calls is always a [`Caller`]; every read and write goes through [`edit`](self), where
//! permissions and quotas are checked, whether it comes from a guest's ring, from a transaction
//! being replayed, or from dom0's own toolstack. A mistake of a client costs that client an error
//! reply; a broken ring costs it its connection; nobody else notices.
//!
//! The rules kept towards hostile clients: memory is bounded per domain (nodes, watches,
//! transactions, queued events, one reply at a time), a watch tells nobody of a node they may not
//! read, and when a domain dies its nodes and its rights go with it.

mod connection;
mod domains;
mod edit;
mod error;
mod event;
mod local;
mod path;
mod permission;
mod quota;
mod ring;
mod serve;
mod store;
mod transaction;
mod tree;
mod watch;

pub use connection::{Connection, ProtocolError};
pub use domains::Introduction;
pub use error::Error;
pub use event::WatchEvent;
pub use local::Local;
pub use path::{MAX_DEPTH, Path, Special, WatchPath};
pub use permission::{Access, Permission, Permissions};
pub use quota::Quota;
pub use ring::{RingError, StoreRing};
pub use store::{Caller, ClientId, Store};
pub use transaction::TransactionId;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod wire_tests;
