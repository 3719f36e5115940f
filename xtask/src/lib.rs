#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bench;
pub mod build;
pub mod client;
pub mod command;
pub mod demo;
pub mod down;
pub mod guest_image;
pub mod image;
pub mod iso;
pub mod keep;
pub mod machine;
pub mod paths;
pub mod progress;
pub mod run;
pub mod setup;
pub mod test;
pub mod up;
pub mod xl;
