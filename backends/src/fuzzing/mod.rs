//! Guests made of random bytes.
//!
//! Each function here takes any bytes for a list of steps of one or more guests, carries them out
//! and panics when a promise is broken: a request answered twice, a page left mapped, a limit
//! passed. `backends/fuzz` puts them before libFuzzer; the inputs it has collected lie in
//! `backends/fuzz/corpus/<target>` and are replayed by `cargo test`.
//!
//! Each returns what it has seen ([`Seen`]), so that inputs that show something new can be told
//! from others without a fuzzer's instrumentation: `grow`, an ignored test, adds such inputs.

mod blkback;
mod input;
mod netback;
#[cfg(test)]
mod replay;
mod xenstore;

pub use blkback::blkback;
pub use netback::netback;
pub use xenstore::xenstore;

use alloc::collections::BTreeSet;

/// Sorts of behaviour that an input has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeSet<(&'static str, u32)>);

impl Seen {
    /// Something was seen.
    fn note(&mut self, what: &'static str, which: u32) {
        self.0.insert((what, which));
    }

    /// A count was seen; only its order of magnitude matters.
    fn count(&mut self, what: &'static str, count: usize) {
        self.note(what, usize::BITS - count.leading_zeros());
    }

    /// Takes in what another input has shown; whether it was new.
    pub fn learn(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        self.0.extend(&other.0);
        self.0.len() > before
    }
}
