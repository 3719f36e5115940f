//! Model-specific registers as the guest's kernel sees them.
//!
//! `None` and `false` mean #GP, which Linux expects of anything it probes for.

use guest_abi::frame::GuestVirtAddr;

use super::context::VcpuContext;
use super::gpr::low32;
use super::machine::{BaseRegister, Machine};

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const MICROCODE_REVISION: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const MISC_FEATURES: u32 = 0x140;
const MCG_CAP: u32 = 0x179;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const EFER: u32 = 0xc000_0080;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
const HWCR: u32 = 0xc001_0015;
const DE_CFG: u32 = 0xc001_1029;

/// The page attribute table is part of the ABI: Linux derives its cache-mode bits from it.
pub const PAT_VALUE: u64 = 0x0000_0501_0007_0406;
/// EFER's SVM bit: hidden.
const EFER_SVME: u64 = 1 << 12;
/// LFENCE is serialising.
const DE_CFG_LFENCE: u64 = 1 << 1;
/// Enabled, at its usual address.
const APIC_BASE_VALUE: u64 = 0xfee0_0000 | 1 << 11;
const APIC_BASE_BSP: u64 = 1 << 8;

/// What `rdmsr` answers.
pub fn read(
    number: u32,
    is_first_vcpu: bool,
    context: &VcpuContext,
    machine: &impl Machine,
) -> Option<u64> {
    if let Some(register) = base_register(number) {
        return Some(machine.segment_base(register));
    }
    match number {
        TSC => Some(machine.time_stamp()),
        APIC_BASE if is_first_vcpu => Some(APIC_BASE_VALUE | APIC_BASE_BSP),
        APIC_BASE => Some(APIC_BASE_VALUE),
        PLATFORM_INFO | MISC_FEATURES | MCG_CAP | HWCR => Some(0),
        PAT => Some(PAT_VALUE),
        EFER => machine.read_msr(EFER).map(|value| value & !EFER_SVME),
        MICROCODE_REVISION | MISC_ENABLE => machine.read_msr(number),
        TSC_AUX => Some(context.tsc_aux.into()),
        DE_CFG => Some(DE_CFG_LFENCE),
        _ => None,
    }
}

/// What `wrmsr` does: `false` if it faults.
pub fn write(number: u32, value: u64, context: &mut VcpuContext, machine: &impl Machine) -> bool {
    if let Some(register) = base_register(number) {
        // Non-canonical bases would fault here, in ring 0 (XSA-193).
        let is_canonical = GuestVirtAddr::new(value).is_canonical();
        if is_canonical {
            machine.set_segment_base(register, value);
        }
        return is_canonical;
    }
    match number {
        EFER | MISC_ENABLE => read(number, false, context, machine) == Some(value),
        TSC_AUX if value >> 32 == 0 => {
            context.tsc_aux = low32(value);
            machine.set_tsc_aux(context.tsc_aux);
            true
        }
        MICROCODE_REVISION => value == 0,
        DE_CFG => true,
        _ => false,
    }
}

/// In guest kernel mode the kernel's GS base is the active one.
fn base_register(number: u32) -> Option<BaseRegister> {
    match number {
        FS_BASE => Some(BaseRegister::Fs),
        GS_BASE => Some(BaseRegister::GsActive),
        KERNEL_GS_BASE => Some(BaseRegister::GsInactive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trap::machine::FakeMachine;

    #[test]
    fn a_segment_base_must_be_canonical() {
        let (machine, mut context) = (FakeMachine::default(), VcpuContext::new());
        let kernel = 0xffff_8880_0000_1000;
        assert!(write(GS_BASE, kernel, &mut context, &machine));
        assert_eq!(read(GS_BASE, true, &context, &machine), Some(kernel));
        for number in [FS_BASE, GS_BASE, KERNEL_GS_BASE] {
            assert!(!write(number, 0x8000_0000_0000, &mut context, &machine));
        }
        assert_eq!(read(GS_BASE, true, &context, &machine), Some(kernel));
    }

    #[test]
    fn only_known_registers_answer() {
        let (machine, mut context) = (FakeMachine::default(), VcpuContext::new());
        assert_eq!(read(PAT, true, &context, &machine), Some(PAT_VALUE));
        let known = [
            TSC,
            APIC_BASE,
            PLATFORM_INFO,
            MISC_FEATURES,
            MCG_CAP,
            PAT,
            FS_BASE,
            GS_BASE,
            KERNEL_GS_BASE,
            TSC_AUX,
            HWCR,
            DE_CFG,
        ];
        for number in (0..0x2000)
            .chain(0xc000_0000..0xc000_2000)
            .chain(0xc001_0000..0xc001_2000)
        {
            let answer = read(number, true, &context, &machine);
            assert_eq!(answer.is_some(), known.contains(&number), "{number:#x}");
        }
        // STAR, LSTAR, SFMASK, SYSENTER: the core's entry points.
        for number in [
            0xc000_0081,
            0xc000_0082,
            0xc000_0083,
            0xc000_0084,
            0x174,
            0x175,
            0x176,
        ] {
            assert!(!write(number, 0, &mut context, &machine), "{number:#x}");
        }
    }
}
