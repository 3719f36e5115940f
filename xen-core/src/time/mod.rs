//! Time (placeholder of the skeleton; owner: sched).
