//! The kernel.

use frontends::{guest_abi::sched::ShutdownReason, println, sched, start::StartOfDay};

/// Prints and dies.
pub(crate) fn main(_start: &'static StartOfDay) -> ! {
    println!("last words");
    sched::shutdown(ShutdownReason::Poweroff)
}
