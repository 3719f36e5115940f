//! dom0's own unsafe code, beside that of `frontends`: the tool hypercalls, and memory that
//! devices share with us.

pub mod config_space;
#[cfg(target_os = "none")]
pub(crate) mod tools;
pub mod virtio;
