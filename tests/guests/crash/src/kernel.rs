//! The kernel.

use frontends::{
    arch::misbehave, guest_abi::sched::ShutdownReason, println, sched, start::StartOfDay,
};

/// Dies as told.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    let way = start.arguments().first().copied().unwrap_or("shutdown");
    println!("about to {way}");
    match way {
        "panic" => panic!("as told"),
        "fault" => {
            misbehave::forget_handlers();
            misbehave::touch_unmapped();
        }
        "stack" => misbehave::fault_without_stack(),
        "tables" => misbehave::unmap_image(),
        "pointers" => misbehave::pass_wild_pointers(),
        "spin" => {
            println!("spinning");
            loop {
                core::hint::spin_loop();
            }
        }
        _ => {}
    }
    sched::shutdown(ShutdownReason::Crash)
}
