//! What a guest learns about the hypervisor by `cpuid`.

/// The first of the hypervisor's leaves.
pub const FIRST_LEAF: u32 = 0x4000_0000;
/// How many follow it.
pub const MAX_NUM_LEAVES: u32 = 5;
/// "XenV", leaf 0 EBX.
pub const SIGNATURE_EBX: u32 = 0x566e_6558;
/// "MMXe", leaf 0 ECX.
pub const SIGNATURE_ECX: u32 = 0x6558_4d4d;
/// "nVMM", leaf 0 EDX.
pub const SIGNATURE_EDX: u32 = 0x4d4d_566e;
/// Leaf 2 ECX: `mmu_update` can keep accessed and dirty bits.
pub const FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
/// Leaf 5 EBX: width of machine addresses.
pub const MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff;
/// A leaf without subleaves, in a policy's list.
pub const NO_SUBLEAF: u32 = 0xffff_ffff;

abi! {
    /// One leaf of a CPU policy.
    pub struct CpuidLeaf: 24 {
        0 => leaf: u32,
        4 => subleaf: u32,
        8 => a: u32,
        12 => b: u32,
        16 => c: u32,
        20 => d: u32,
    }

    /// One model-specific register of a CPU policy.
    pub struct MsrEntry: 16 {
        0 => idx: u32,
        4 => flags: u32,
        8 => val: u64,
    }
}
