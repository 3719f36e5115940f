//! A hand-made set of tables, laid out as QEMU's q35 does it.

use super::{ACPI_2_GUID, IoApic, Override, Power, parse};
use crate::boot::loader::BootInfo;

const RSDP: usize = 0xe_0010;
const RSDT: usize = 0x11_0000;
const MADT: usize = 0x11_1000;
const FADT: usize = 0x11_2000;
const DSDT: usize = 0x11_3000;

fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}

fn word(memory: &mut [u8], at: usize, value: usize) {
    put(memory, at, &u32::try_from(value).unwrap().to_le_bytes());
}

fn machine() -> Vec<u8> {
    let mut memory = vec![0; 0x12_0000];
    put(&mut memory, RSDP, b"RSD PTR ");
    word(&mut memory, RSDP + 16, RSDT);
    let sum = memory[RSDP..RSDP + 20]
        .iter()
        .fold(0u8, |a, b| a.wrapping_add(*b));
    memory[RSDP + 8] = sum.wrapping_neg();

    put(&mut memory, RSDT, b"RSDT");
    word(&mut memory, RSDT + 4, 36 + 8);
    word(&mut memory, RSDT + 36, MADT);
    word(&mut memory, RSDT + 40, FADT);

    put(&mut memory, MADT, b"APIC");
    word(&mut memory, MADT + 36, 0xfee0_0000);
    let entries: [&[u8]; 5] = [
        &[0, 8, 0, 0, 1, 0, 0, 0],
        &[0, 8, 1, 1, 1, 0, 0, 0],
        &[0, 8, 2, 2, 0, 0, 0, 0],
        &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
    ];
    let all = entries.concat();
    put(&mut memory, MADT + 44, &all);
    word(&mut memory, MADT + 4, 44 + all.len());

    put(&mut memory, FADT, b"FACP");
    word(&mut memory, FADT + 40, DSDT);
    word(&mut memory, FADT + 64, 0x604);
    word(&mut memory, DSDT + 4, 100);
    put(&mut memory, DSDT + 50, &[8]);
    put(&mut memory, DSDT + 51, b"_S5_");
    put(&mut memory, DSDT + 55, &[0x12, 6, 4, 0x0a, 5, 0, 0, 0]);
    memory
}

#[test]
fn the_enabled_cpus_and_controllers_are_found() {
    let acpi = parse(&machine(), &BootInfo::default()).unwrap();
    assert_eq!(acpi.cpus, [0, 1]);
    assert_eq!(acpi.local_apic, 0xfee0_0000);
    let io_apic = IoApic {
        id: 0,
        address: 0xfec0_0000,
        gsi_base: 0,
    };
    assert_eq!(acpi.io_apics, [io_apic]);
    let sci = Override {
        irq: 9,
        gsi: 9,
        active_low: false,
        level: true,
    };
    assert_eq!(acpi.overrides, [sci]);
}

#[test]
fn the_power_switch_is_found() {
    let switch = Power {
        pm1a_control: 0x604,
        pm1b_control: 0,
        sleep_type_a: 5,
        sleep_type_b: 0,
    };
    assert_eq!(
        parse(&machine(), &BootInfo::default()).unwrap().power,
        Some(switch)
    );
}

#[test]
fn a_root_pointer_with_a_wrong_sum_is_none() {
    let mut memory = machine();
    memory[RSDP + 8] ^= 1;
    assert!(parse(&memory, &BootInfo::default()).is_none());
}

#[test]
fn an_entry_of_length_zero_ends_the_table() {
    let mut memory = machine();
    memory[MADT + 44 + 8 + 1] = 0;
    assert_eq!(parse(&memory, &BootInfo::default()).unwrap().cpus, [0]);
}

/// A machine whose root pointer lies where only EFI knows it.
fn efi_machine() -> (Vec<u8>, BootInfo) {
    const SYSTEM_TABLE: usize = 0x11_8000;
    const LIST: usize = 0x11_9000;
    const MOVED: usize = 0x11_a000;
    let mut memory = machine();
    memory.copy_within(RSDP..RSDP + 20, MOVED);
    memory[RSDP..RSDP + 20].fill(0);
    put(&mut memory, SYSTEM_TABLE, b"IBI SYST");
    word(&mut memory, SYSTEM_TABLE + 104, 2);
    word(&mut memory, SYSTEM_TABLE + 112, LIST);
    put(&mut memory, LIST + 24, &ACPI_2_GUID);
    word(&mut memory, LIST + 40, MOVED);
    let info = BootInfo {
        efi_system_table: Some(SYSTEM_TABLE as u64),
        ..BootInfo::default()
    };
    (memory, info)
}

#[test]
fn efis_system_table_leads_to_the_root_pointer() {
    let (memory, info) = efi_machine();
    assert_eq!(parse(&memory, &info).unwrap().rsdp, Some(0x11_a000));
    assert!(parse(&memory, &BootInfo::default()).is_none());
}

#[test]
fn a_loaders_copy_serves_the_core_and_nobody_else() {
    let (mut memory, mut info) = efi_machine();
    info.rsdp_copy = Some(0x11_a000);
    put(&mut memory, 0x11_8000, b"not EFI's");
    let acpi = parse(&memory, &info).unwrap();
    assert_eq!((acpi.rsdp, acpi.cpus.len()), (None, 2));
}
