//! A backend's half of a device's life: the nodes through which it finds its frontend, and the
//! states both go through.
//!
//! ```text
//!  toolstack makes nodes ─▶ Initialising ─ offer ─▶ InitWait ─ frontend tells its rings ─▶ connect
//!                               ▲                                                            │
//!                               │                                                        Connected
//!                     frontend starts anew                                                   │
//!                               └── Closed ◀─ frontend Closed ─ Closing ◀─ either end closes ─┘
//! ```
//!
//! [`run`] drives any [`Backend`] through this. A frontend that breaks the rules is
//! disconnected: its device ends in `Closed` with the reason in its `error` node and in the log,
//! and stays so until the toolstack takes it away or the frontend starts anew.

mod device;
mod life;
#[cfg(test)]
mod life_tests;

pub use device::Device;
pub use life::{Backend, Control, End, Refusal, Wish, run};
