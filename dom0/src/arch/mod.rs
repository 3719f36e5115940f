//! dom0's own unsafe code, beside that of `frontends`: the tool hypercalls.

pub(crate) mod tools;
