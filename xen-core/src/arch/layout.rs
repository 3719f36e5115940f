//! The core's address space: what lies where in the reserved root slots 256 to 271.
//!
//! ```text
//! ffff_8000_0000_0000  slot 256       machine-to-phys table, u64[mfn], guests may read it
//! ffff_8280_0000_0000  slot 261       per-CPU stack regions, 64 KiB each
//! ffff_8290_0000_0000                 per-CPU descriptor windows, 128 KiB each
//! ffff_82a0_0000_0000                 device registers
//! ffff_82d0_8020_0000                 the core's image (physical 2 MiB)
//! ffff_8300_0000_0000  slot 262..271  direct map of all RAM
//! ```
//!
//! The same 16 entries stand in every root, so a change of address space never changes them.

/// The first of the core's slots in a root table.
pub const FIRST_SLOT: usize = 256;
/// How many slots the core has.
pub const SLOTS: usize = 16;
/// The machine-to-phys table.
pub const M2P_BASE: u64 = 0xffff_8000_0000_0000;
/// The stack regions.
pub const STACKS_BASE: u64 = 0xffff_8280_0000_0000;
/// Bytes of a stack region, and its alignment.
pub const STACK_REGION: u64 = 0x1_0000;
/// The descriptor windows.
pub const WINDOWS_BASE: u64 = 0xffff_8290_0000_0000;
/// Bytes of a CPU's descriptor window: 16 pages of GDT, then 16 pages of LDT.
pub const WINDOW: u64 = 0x2_0000;
/// Offset of the LDT in a descriptor window.
pub const WINDOW_LDT: u64 = 0x1_0000;
/// Device registers.
pub const DEVICES_BASE: u64 = 0xffff_82a0_0000_0000;
/// What to subtract from an address of the image for its physical address.
pub const IMAGE_OFFSET: u64 = 0xffff_82d0_8000_0000;
/// Where physical address 0 is in the direct map.
pub const DIRECT_MAP_BASE: u64 = 0xffff_8300_0000_0000;
/// The first byte of the hole that guests may not touch (the machine-to-phys table included).
pub const HOLE_START: u64 = M2P_BASE;
/// The byte behind the hole.
pub const HOLE_END: u64 = 0xffff_8800_0000_0000;
/// How much RAM the direct map can hold.
pub const DIRECT_MAP_LIMIT: u64 = HOLE_END - DIRECT_MAP_BASE;

/// Whether any of the `len` bytes at `va` is not a guest's to touch: in the hole or not canonical.
pub const fn is_off_limits(va: u64, len: u64) -> bool {
    let Some(end) = va.checked_add(len) else {
        return true;
    };
    // Nothing between the two canonical halves is mapped, and the hole starts the upper one.
    !(end <= 0x8000_0000_0000 || va >= HOLE_END)
}

#[cfg(test)]
mod tests {
    use super::is_off_limits;

    #[test]
    fn the_hole_and_its_neighbours() {
        for (va, len, off) in [
            (0, 4096, false),
            (0x7fff_ffff_fff8, 8, false),
            (0x7fff_ffff_fff8, 9, true),
            (0x8000_0000_0000, 1, true),
            (0xffff_8000_0000_0000, 8, true),
            (0xffff_87ff_ffff_ffff, 1, true),
            (0xffff_8800_0000_0000, 8, false),
            (u64::MAX - 7, 7, false),
            (u64::MAX - 7, 9, true),
        ] {
            assert_eq!(is_off_limits(va, len), off, "{va:#x}+{len}");
        }
    }
}
