//! Looking a translation up in the tables themselves, to tell a stale one from a missing one.
//!
//! No lock is held: tables may change meanwhile, and a page that was a table may be anything by
//! now. So every frame is checked before it is looked into, and the answer is a hint: whoever acts
//! on it repeats an access that faults again if the hint was wrong.

use guest_abi::frame::{GuestVirtAddr, Mfn};
use guest_abi::mmu::Pte;

use super::direct_map;
use crate::arch::layout::is_off_limits;
use crate::mm::heap;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Bits of a #PF error code.
const ERROR_WRITE: u32 = 1 << 1;
const ERROR_USER: u32 = 1 << 2;
const ERROR_RESERVED: u32 = 1 << 3;
const ERROR_FETCH: u32 = 1 << 4;

/// Whether the tables under `root` allow the access to `address` that faulted with `error_code`.
pub(super) fn allows(root: Mfn, address: GuestVirtAddr, error_code: u32) -> bool {
    if error_code & ERROR_RESERVED != 0 || is_off_limits(address.get(), 1) {
        return false;
    }
    let mut needed = PRESENT;
    if error_code & ERROR_WRITE != 0 {
        needed |= WRITABLE;
    }
    if error_code & ERROR_USER != 0 {
        needed |= USER;
    }
    let mut table = root;
    for level in [4, 3, 2, 1] {
        if heap::page(table).is_none() {
            return false;
        }
        let entry = direct_map::table(table).load(address.table_index(level));
        let is_large = level > 1 && entry & LARGE != 0;
        let is_fetch_of_data = error_code & ERROR_FETCH != 0 && entry & NO_EXECUTE != 0;
        if entry & needed != needed || is_fetch_of_data || is_large {
            return false;
        }
        table = Pte::new(entry).frame();
    }
    true
}
