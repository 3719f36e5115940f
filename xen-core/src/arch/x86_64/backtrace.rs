//! Following frame pointers.

use core::arch::asm;

use super::image;
use crate::arch::layout::{STACK_REGION, STACKS_BASE, WINDOWS_BASE};

/// The present frame pointer.
#[inline(always)]
pub fn frame() -> u64 {
    let frame: u64;
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    frame
}

/// The return addresses on the stack that `frame` points into, innermost first. Ends at the first
/// frame that does not look like one.
pub fn callers(frame: u64) -> impl Iterator<Item = u64> {
    let mut frame = frame;
    core::iter::from_fn(move || {
        if !is_frame(frame) {
            return None;
        }
        // SAFETY: the address is aligned and within this stack's mapped pages (see `is_frame`).
        let [next, address] = unsafe { (frame as *const [u64; 2]).read_volatile() };
        let ascends = next > frame && next / STACK_REGION == frame / STACK_REGION;
        frame = if ascends { next } else { 0 };
        (image::start()..image::end())
            .contains(&address)
            .then_some(address)
    })
}

/// Whether two words can be read there: on the boot stack, or a mapped page of a stack region.
fn is_frame(frame: u64) -> bool {
    let in_image = frame >= image::start() && frame + 16 <= image::end();
    let offset = frame % STACK_REGION;
    let guarded = matches!(offset >> 12, 0 | 2 | 4 | 6 | 8);
    let in_region = (STACKS_BASE..WINDOWS_BASE).contains(&frame) && !guarded && offset <= 0xfff0;
    frame.is_multiple_of(8) && (in_image || in_region)
}
