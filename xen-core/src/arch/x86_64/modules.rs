//! The files that the loader put into memory.

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_abi::frame::{MachAddr, PAGE_SIZE};

use super::direct_map;
use crate::boot::loader::MAX_MODULES;
use crate::{boot, mm};

static TAKEN: [AtomicBool; MAX_MODULES] = [const { AtomicBool::new(false) }; MAX_MODULES];

/// A module's bytes. Its memory, kept from everybody else so far, goes to the frame allocator when
/// this is dropped.
pub struct ModuleBytes {
    start: u64,
    bytes: &'static [u8],
}

impl fmt::Debug for ModuleBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.bytes.len(), self.start)
    }
}

/// Takes the bytes of module `index`; `None` if there is no such module or it was taken before.
pub fn take(index: usize) -> Option<ModuleBytes> {
    let module = boot::machine().loader.modules.get(index)?;
    let len = usize::try_from(module.len()).ok()?;
    if TAKEN.get(index)?.swap(true, Ordering::AcqRel) {
        return None;
    }
    let first = direct_map::pointer(MachAddr::new(module.start));
    // SAFETY: the range was kept out of the free memory since start-up, it is handed out once, and
    // nobody writes to it until the result is dropped.
    let bytes = unsafe { core::slice::from_raw_parts(first.cast_const(), len) };
    Some(ModuleBytes {
        start: module.start,
        bytes,
    })
}

impl Deref for ModuleBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for ModuleBytes {
    fn drop(&mut self) {
        // A page at either end may hold something else, too: only whole pages go.
        let first = self.start.next_multiple_of(PAGE_SIZE as u64);
        let end = (self.start + self.bytes.len() as u64) & !(PAGE_SIZE as u64 - 1);
        for page in (first..end).step_by(PAGE_SIZE) {
            mm::free_core_frames(MachAddr::new(page).frame(), 0);
        }
    }
}
