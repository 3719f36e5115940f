//! Time.
pub mod calendar;
pub mod scale;
