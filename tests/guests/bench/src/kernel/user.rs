//! System calls of user code.

use alloc::vec;

use frontends::guest_abi::{Errno, PAGE_SIZE};
use frontends::memory::Page;
use frontends::user::{USER_BASE, UserMode, UserSpace};

use super::{Figures, alloc};

/// `1: syscall; jmp 1b`
const CALL_LOOP: [u8; 4] = [0x0f, 0x05, 0xeb, 0xfc];

/// From the kernel to user code, which calls at once, and back.
pub(super) fn system_calls(figures: &mut Figures) -> Result<(), Errno> {
    let code = Page::zeroed()?;
    code.write(0, &CALL_LOOP);
    let mut user = UserMode::new(UserSpace::new(vec![code, Page::zeroed()?])?)?;
    let mut context = user.context(USER_BASE, USER_BASE + 2 * PAGE_SIZE as u64);
    figures.add("system call from user mode and back", || {
        user.run(&mut context);
        Ok(())
    })
}
