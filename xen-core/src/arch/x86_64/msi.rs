//! Message-signalled interrupts: what a device writes where, and the tables of MSI-X.

use heapless::Vec;

use super::irq::Bound;
use super::paging::{self, bits};
use super::{low_half, percpu};
use crate::arch::layout::DEVICES_BASE;
use crate::sync::SpinLock;

/// Table pages are mapped from here on, behind the controllers' registers.
const FIRST_PAGE: u64 = DEVICES_BASE + 0x10_0000;
const ENTRY: u64 = 16;
const VECTOR_MASKED: u32 = 1;

/// Physical pages that are mapped, in the order of their virtual ones.
static PAGES: SpinLock<Vec<u64, 128>> = SpinLock::new(Vec::new());

/// What a device writes to interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where.
    pub address: u64,
    /// What.
    pub data: u32,
}

impl Message {
    /// The message that raises a bound vector: fixed delivery, physical destination, edge.
    pub fn new(bound: Bound) -> Self {
        Self {
            address: 0xfee0_0000 | u64::from(percpu::apic_id(bound.cpu) & 0xff) << 12,
            data: bound.vector.into(),
        }
    }
}

/// Puts `message` into entry `index` of the MSI-X table at physical address `table`, masked or
/// not. False if the table's page cannot be mapped.
pub fn write_entry(table: u64, index: u16, message: Message, masked: bool) -> bool {
    let Some(entry) = map(table + ENTRY * u64::from(index)) else {
        return false;
    };
    let [low, high] = [low_half(message.address), low_half(message.address >> 32)];
    // While the entry changes, it stays masked.
    for (offset, value) in [
        (12, VECTOR_MASKED),
        (0, low),
        (4, high),
        (8, message.data),
        (12, if masked { VECTOR_MASKED } else { 0 }),
    ] {
        // SAFETY: the page was just mapped, and holds registers of a device.
        unsafe { ((entry + offset) as *mut u32).write_volatile(value) };
    }
    true
}

/// Masks or unmasks an entry. False if the table's page cannot be mapped.
pub fn mask_entry(table: u64, index: u16, masked: bool) -> bool {
    let Some(entry) = map(table + ENTRY * u64::from(index)) else {
        return false;
    };
    let value = if masked { VECTOR_MASKED } else { 0 };
    // SAFETY: the page was just mapped, and holds registers of a device.
    unsafe { ((entry + 12) as *mut u32).write_volatile(value) };
    true
}

/// Where the device register at `address` is mapped; pages stay mapped for good.
fn map(address: u64) -> Option<u64> {
    let (page, offset) = (address & !0xfff, address & 0xfff);
    let mut pages = PAGES.lock();
    let known = pages.iter().position(|known| *known == page);
    let index = match known {
        Some(index) => index,
        None => {
            let index = pages.len();
            let va = FIRST_PAGE + 0x1000 * index as u64;
            pages.push(page).ok()?;
            if !paging::map(va, page, bits::DATA | bits::UNCACHED) {
                pages.pop();
                return None;
            }
            index
        }
    };
    Some(FIRST_PAGE + 0x1000 * index as u64 + offset)
}
