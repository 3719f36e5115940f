//! Segment descriptors: what a guest may have in its GDT and LDT.
//!
//! A pure check over the eight bytes, used when a page becomes a descriptor page and by
//! `update_descriptor`. The processor looks at these bytes in ring 0, so nothing that raises
//! privilege may be among them: no system segment, no call gate, no DPL below 3.

/// Present.
const PRESENT: u64 = 1 << 47;
/// Code or data, as opposed to a system descriptor.
const CODE_OR_DATA: u64 = 1 << 44;
/// The privilege level.
const DPL: u64 = 3 << 45;
/// Of a code-or-data descriptor: it is code.
const CODE: u64 = 1 << 43;
/// Of a code descriptor: callable from less privileged code without a change of level.
const CONFORMING: u64 = 1 << 42;
/// Type of a system descriptor.
const SYSTEM_TYPE: u64 = 0xf << 40;

/// The descriptor as the core stores it, or `None` if a guest may not have it.
///
/// - Not present, or an all-zero type: harmless, kept as it is.
/// - Code and data: DPL forced to 3; conforming code becomes ordinary code.
/// - Every other system descriptor (LDT, TSS, gates): refused. Xen admits call gates and rewrites
///   them; no known 64-bit guest has one, and a gate in a 16-byte slot is a bug magnet.
pub const fn check(raw: u64) -> Option<u64> {
    if raw & PRESENT == 0 {
        return Some(raw);
    }
    if raw & CODE_OR_DATA == 0 {
        // A system descriptor of type 0 faults on every use.
        return if raw & SYSTEM_TYPE == 0 {
            Some(raw & !PRESENT)
        } else {
            None
        };
    }
    let raw = raw | DPL;
    if raw & CODE != 0 {
        Some(raw & !CONFORMING)
    } else {
        Some(raw)
    }
}

/// Whether a descriptor may stand in a descriptor page as it is.
pub const fn is_acceptable(raw: u64) -> bool {
    match check(raw) {
        Some(stored) => stored == raw,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KERNEL_CODE: u64 = 0x00af_9b00_0000_ffff;
    const USER_DATA: u64 = 0x00cf_f300_0000_ffff;

    #[test]
    fn flat_segments_come_out_with_dpl_3() {
        assert_eq!(check(KERNEL_CODE), Some(KERNEL_CODE | DPL));
        assert_eq!(check(USER_DATA), Some(USER_DATA));
        assert_eq!(check(0), Some(0));
    }

    #[test]
    fn gates_and_system_segments_are_refused() {
        for ty in 1..16u64 {
            for dpl in 0..4u64 {
                assert_eq!(check(PRESENT | ty << 40 | dpl << 45), None, "type {ty}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_stored_raises_privilege(raw: u64) {
            if let Some(stored) = check(raw) && stored & PRESENT != 0 {
                prop_assert_ne!(stored & CODE_OR_DATA, 0);
                prop_assert_eq!(stored & DPL, DPL);
                prop_assert!(stored & CODE == 0 || stored & CONFORMING == 0);
            }
        }

        #[test]
        fn checking_twice_changes_nothing(raw: u64) {
            if let Some(stored) = check(raw) {
                prop_assert_eq!(check(stored), Some(stored));
                prop_assert!(is_acceptable(stored));
            }
        }
    }
}
