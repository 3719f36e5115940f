//! What a guest sees of the processor: masks over the real leaves, and the hypervisor's own.
//!
//! Everything not listed is hidden. XSAVE and all that builds on it (AVX and later) are hidden
//! because the core switches FPU state by FXSAVE and never sets CR4.OSXSAVE; FSGSBASE because
//! CR4.FSGSBASE stays clear, so that segment bases change only where the core can follow
//! (XSA-293); MCE and MCA because machine checks are the core's. SMAP, SMEP, PCID, superpages and
//! global pages make no sense in ring 3.

use guest_abi::cpuid::{
    FEAT1_MMU_PT_UPDATE_PRESERVE_AD, FIRST_LEAF, MAX_NUM_LEAVES, SIGNATURE_EBX, SIGNATURE_ECX,
    SIGNATURE_EDX,
};

use super::machine::{CpuidResult, HostFacts, Machine};

/// The version shown to guests: 4.17.
pub const XEN_VERSION: u32 = 4 << 16 | 17;
/// The highest basic leaf: 0xd is the last that Linux asks for without looking.
const MAX_BASIC: u32 = 0xd;
/// The highest extended leaf.
const MAX_EXTENDED: u32 = EXTENDED_FEATURES_2;
/// The highest extended leaf of which the processor's own is shown.
const MAX_SHOWN_EXTENDED: u32 = 0x8000_0008;
/// AMD's second leaf of extended features.
const EXTENDED_FEATURES_2: u32 = 0x8000_0021;
/// There: "a null selector clears the base".
const NULL_CLEARS_BASE: u32 = 1 << 6;
/// Grant tables of version 1 carry 32-bit frame numbers: a wider answer makes Linux want version 2.
const MAX_MACHINE_ADDRESS_WIDTH: u32 = 44;

const fn bits(list: &[u32]) -> u32 {
    let mut mask = 0;
    let mut at = 0;
    while at < list.len() {
        mask |= 1 << list[at];
        at += 1;
    }
    mask
}

/// FPU DE TSC MSR PAE CX8 APIC CMOV PAT CLFLUSH MMX FXSR SSE SSE2 HTT.
const LEAF1_EDX: u32 = bits(&[0, 2, 4, 5, 6, 8, 9, 15, 16, 19, 23, 24, 25, 26, 28]);
/// SSE3 PCLMUL SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND.
const LEAF1_ECX: u32 = bits(&[0, 1, 9, 13, 19, 20, 22, 23, 25, 30]);
/// "A hypervisor is present."
const LEAF1_ECX_HYPERVISOR: u32 = 1 << 31;
/// BMI1 BMI2 ERMS RDSEED ADX CLFLUSHOPT CLWB SHA.
const LEAF7_EBX: u32 = bits(&[3, 8, 9, 18, 19, 23, 24, 29]);
/// RDPID.
const LEAF7_ECX: u32 = bits(&[22]);
/// FSRM MD_CLEAR.
const LEAF7_EDX: u32 = bits(&[4, 10]);
/// SYSCALL NX MMXEXT FXSR_OPT RDTSCP LM, and AMD's copies of leaf 1.
const EXT1_EDX: u32 = bits(&[0, 2, 4, 5, 6, 8, 9, 11, 15, 16, 20, 22, 23, 24, 25, 27, 29]);
/// LAHF CMP_LEGACY ABM SSE4A MISALIGNSSE 3DNOWPREFETCH.
const EXT1_ECX: u32 = bits(&[0, 1, 5, 6, 7, 8]);
/// The TSC does not stop or change its rate.
const EXT7_EDX: u32 = bits(&[8]);

/// A leaf as the guest sees it; `real` is the processor's own CPUID.
pub fn leaf(
    leaf: u32,
    subleaf: u32,
    facts: HostFacts,
    real: impl Fn(u32, u32) -> CpuidResult,
) -> CpuidResult {
    match leaf {
        0 => CpuidResult {
            eax: real(0, 0).eax.min(MAX_BASIC),
            ..real(0, 0)
        },
        1 => leaf1(real(1, 0)),
        2 => real(2, 0),
        4 => real(4, subleaf),
        7 if subleaf == 0 => leaf7(real(7, 0)),
        0x8000_0000 => {
            let host = real(0x8000_0000, 0);
            let max = if facts.null_clears_base {
                MAX_EXTENDED
            } else {
                host.eax.min(MAX_SHOWN_EXTENDED)
            };
            CpuidResult { eax: max, ..host }
        }
        0x8000_0001 => {
            let host = real(0x8000_0001, 0);
            CpuidResult {
                ecx: host.ecx & EXT1_ECX,
                edx: host.edx & EXT1_EDX,
                ..host
            }
        }
        0x8000_0002..=0x8000_0006 => real(leaf, 0),
        0x8000_0007 => CpuidResult {
            edx: real(leaf, 0).edx & EXT7_EDX,
            ..CpuidResult::default()
        },
        // Physical width as it is; virtual width 48, because there is no fifth level.
        0x8000_0008 => CpuidResult {
            eax: real(leaf, 0).eax & 0xff | 48 << 8,
            ..CpuidResult::default()
        },
        // Found out, not taken over: where Linux does not find this it loads GS twice at each of its
        // context switches, by a hypercall each time.
        EXTENDED_FEATURES_2 if facts.null_clears_base => CpuidResult {
            eax: NULL_CLEARS_BASE,
            ..CpuidResult::default()
        },
        FIRST_LEAF..=0x4000_00ff => hypervisor_leaf(leaf - FIRST_LEAF, subleaf, facts),
        _ => CpuidResult::default(),
    }
}

/// The feature words of what guests see, in the order in which toolstacks print them.
pub fn host_capabilities(machine: &impl Machine) -> [u32; 8] {
    let facts = machine.host_facts();
    let see = |number| {
        leaf(number, 0, facts, |leaf, subleaf| {
            machine.cpuid(leaf, subleaf)
        })
    };
    let (basic, extended, structured) = (see(1), see(0x8000_0001), see(7));
    let power = see(0x8000_0007);
    [
        basic.edx,
        basic.ecx,
        extended.edx,
        extended.ecx,
        0,
        structured.ebx,
        structured.ecx,
        power.edx,
    ]
}

fn leaf1(host: CpuidResult) -> CpuidResult {
    CpuidResult {
        eax: host.eax,
        // Brand index and cache line size; one logical processor with APIC id 0.
        ebx: host.ebx & 0xffff | 1 << 16,
        ecx: host.ecx & LEAF1_ECX | LEAF1_ECX_HYPERVISOR,
        edx: host.edx & LEAF1_EDX,
    }
}

fn leaf7(host: CpuidResult) -> CpuidResult {
    CpuidResult {
        eax: 0,
        ebx: host.ebx & LEAF7_EBX,
        ecx: host.ecx & LEAF7_ECX,
        edx: host.edx & LEAF7_EDX,
    }
}

fn hypervisor_leaf(number: u32, subleaf: u32, facts: HostFacts) -> CpuidResult {
    let none = CpuidResult::default();
    match (number, subleaf) {
        (0, _) => CpuidResult {
            eax: FIRST_LEAF + MAX_NUM_LEAVES,
            ebx: SIGNATURE_EBX,
            ecx: SIGNATURE_ECX,
            edx: SIGNATURE_EDX,
        },
        (1, _) => CpuidResult {
            eax: XEN_VERSION,
            ..none
        },
        // One hypercall page, its MSR (which PV guests do not use), and the one feature bit.
        (2, _) => CpuidResult {
            eax: 1,
            ebx: FIRST_LEAF,
            ecx: FEAT1_MMU_PT_UPDATE_PRESERVE_AD,
            ..none
        },
        // The TSC is the host's own and never emulated (mode 2).
        (3, 0) => CpuidResult {
            eax: 0,
            ebx: 2,
            ecx: facts.tsc_khz,
            edx: 0,
        },
        (3, 2) => CpuidResult {
            eax: facts.tsc_khz,
            ..none
        },
        (5, _) => CpuidResult {
            ebx: facts.machine_address_width.min(MAX_MACHINE_ADDRESS_WIDTH),
            ..none
        },
        _ => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: HostFacts = HostFacts {
        tsc_khz: 2_000_000,
        machine_address_width: 52,
        null_clears_base: true,
    };

    fn all_ones(_: u32, _: u32) -> CpuidResult {
        CpuidResult {
            eax: u32::MAX,
            ebx: u32::MAX,
            ecx: u32::MAX,
            edx: u32::MAX,
        }
    }

    fn see(number: u32, subleaf: u32) -> CpuidResult {
        leaf(number, subleaf, FACTS, all_ones)
    }

    #[test]
    fn nothing_that_needs_xsave_is_visible() {
        let one = see(1, 0);
        for hidden in [12, 26, 27, 28, 29] {
            assert_eq!(one.ecx >> hidden & 1, 0, "leaf 1 ecx bit {hidden}");
        }
        assert_eq!(see(0xd, 0), CpuidResult::default());
        assert_eq!(see(7, 0).ebx & bits(&[5, 16, 17, 21, 28, 30, 31]), 0);
    }

    #[test]
    fn what_a_pv_guest_must_not_see_is_hidden() {
        // VME PSE MCE MTRR PGE MCA PSE36 SEP; MONITOR VMX PCID x2APIC TSC_DEADLINE.
        assert_eq!(see(1, 0).edx & bits(&[1, 3, 7, 11, 12, 13, 14, 17]), 0);
        assert_eq!(see(1, 0).ecx & bits(&[3, 5, 17, 21, 24]), 0);
        // FSGSBASE TSC_ADJUST SMEP INVPCID MPX SMAP; UMIP PKU LA57.
        assert_eq!(see(7, 0).ebx & bits(&[0, 1, 7, 10, 14, 20]), 0);
        assert_eq!(see(7, 0).ecx & bits(&[2, 3, 4, 7, 16]), 0);
        // PAGE1GB; SVM EXTAPIC OSVW TOPOEXT.
        assert_eq!(see(0x8000_0001, 0).edx & bits(&[26]), 0);
        assert_eq!(see(0x8000_0001, 0).ecx & bits(&[2, 3, 9, 22]), 0);
    }

    #[test]
    fn the_hypervisor_introduces_itself() {
        assert_eq!(see(1, 0).ecx >> 31, 1);
        let base = see(0x4000_0000, 0);
        assert_eq!(base.eax, 0x4000_0005);
        let name = [base.ebx, base.ecx, base.edx]
            .map(u32::to_le_bytes)
            .concat();
        assert_eq!(name, b"XenVMMXenVMM");
        assert_eq!(see(0x4000_0001, 0).eax, 0x4_0011);
        assert!(see(0x4000_0005, 0).ebx <= 44);
    }

    #[test]
    fn null_selectors_are_said_to_clear_bases_only_where_they_do() {
        let second = see(0x8000_0021, 0);
        assert!(see(0x8000_0000, 0).eax >= 0x8000_0021);
        assert_eq!(
            (second.eax, second.ebx, second.ecx, second.edx),
            (1 << 6, 0, 0, 0)
        );
        let facts = HostFacts {
            null_clears_base: false,
            ..FACTS
        };
        assert_eq!(leaf(0x8000_0000, 0, facts, all_ones).eax, 0x8000_0008);
        assert_eq!(
            leaf(0x8000_0021, 0, facts, all_ones),
            CpuidResult::default()
        );
    }

    #[test]
    fn leaves_beyond_the_last_are_empty() {
        for number in [
            6,
            0xa,
            0xb,
            0x14,
            0x4000_0006,
            0x4000_0100,
            0x8000_0009,
            0x8000_001f,
        ] {
            assert_eq!(see(number, 0), CpuidResult::default(), "{number:#x}");
        }
    }
}
