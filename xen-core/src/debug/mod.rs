//! Log, backtrace, sweep (placeholder of the skeleton; owners: boot, mm).
