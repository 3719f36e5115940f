//! Placeholder of the first commit.
#![cfg_attr(not(test), no_std)]
