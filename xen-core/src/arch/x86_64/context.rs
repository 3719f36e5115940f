//! Switching vCPUs (placeholder; owner: traps).

use crate::domain::VcpuRef;

/// Saves `prev`'s registers and loads `next`'s.
pub fn switch(_prev: Option<&VcpuRef>, _next: Option<&VcpuRef>) {}
