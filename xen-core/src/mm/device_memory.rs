//! Which machine addresses are devices' and firmware's, and which of them the core keeps.
//!
//! Everything that is not RAM may be mapped by a domain that owns devices, but for the ranges
//! that the core denies: by touching them a guest could send interrupts of its own making.

use core::ops::Range;

use guest_abi::frame::{Mfn, PAGE_SHIFT};
use heapless::Vec;

use crate::sync::SpinLock;

/// The frames to which a message-signalled interrupt is a plain write.
const MSI_WINDOW: Range<u64> = 0xfee00..0xfef00;
/// Frames below the first megabyte are the firmware's, RAM or not.
const LOW_MEMORY: u64 = 0x100;
/// No CPU addresses more: 52 bits.
const END: u64 = 1 << (52 - PAGE_SHIFT);

#[derive(Debug)]
struct Ranges {
    ram: Vec<Range<u64>, 64>,
    denied: Vec<Range<u64>, 64>,
}

static RANGES: SpinLock<Ranges> = SpinLock::new(Ranges {
    ram: Vec::new(),
    denied: Vec::new(),
});

fn frames(addresses: &Range<u64>) -> Range<u64> {
    addresses.start >> PAGE_SHIFT..addresses.end.saturating_add(0xfff) >> PAGE_SHIFT
}

/// Records a range of machine addresses that is RAM.
pub fn add_ram(addresses: &Range<u64>) {
    if RANGES.lock().ram.push(frames(addresses)).is_err() {
        log::error!("more ranges of RAM than the core can tell from device memory");
    }
}

/// Keeps a range of machine addresses from every guest.
pub fn deny(addresses: &Range<u64>) {
    if RANGES.lock().denied.push(frames(addresses)).is_err() {
        log::error!("too many ranges of device memory to deny");
    }
}

/// Whether a domain that owns devices may map the frame as device memory.
pub fn may_be_mapped(mfn: Mfn) -> bool {
    let mfn = mfn.get();
    let ranges = RANGES.lock();
    let is_ram = mfn >= LOW_MEMORY && ranges.ram.iter().any(|range| range.contains(&mfn));
    let is_denied = MSI_WINDOW.contains(&mfn) || ranges.denied.iter().any(|r| r.contains(&mfn));
    mfn < END && !is_ram && !is_denied
}

#[cfg(test)]
mod tests {
    use super::{add_ram, deny, may_be_mapped};
    use guest_abi::frame::Mfn;

    #[test]
    fn ram_and_what_the_core_keeps_are_no_devices() {
        add_ram(&(0x7000_0000..0x7100_0000));
        deny(&(0x7fee_1000..0x7fee_1040));
        for (mfn, mappable) in [
            (0xa0, true),
            (0x70000, false),
            (0x70fff, false),
            (0x71000, true),
            (0x7fee0, true),
            (0x7fee1, false),
            (0xfee00, false),
            (1 << 40, false),
        ] {
            assert_eq!(may_be_mapped(Mfn::new(mfn)), mappable, "{mfn:#x}");
        }
    }
}
