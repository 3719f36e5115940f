//! Turning linked programs into what a loader takes.

mod flat;
mod strip;
mod symbols;

pub use flat::flatten;
pub use strip::strip;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "small numbers made by hand"
)]
mod tests;
