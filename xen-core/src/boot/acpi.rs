//! What we need of the ACPI tables: CPUs, interrupt controllers, the power switch.
//!
//! Layouts: ACPI 6.x, sections 5.2.5 (RSDP), 5.2.7 (RSDT), 5.2.8 (XSDT), 5.2.9 (FADT) and 5.2.12
//! (MADT). The AML interpreter is dom0's; of the DSDT we only look for the bytes by which every
//! firmware writes the `_S5_` package.

use core::ops::Range;

use heapless::Vec;

use super::loader::BootInfo;
use super::phys::PhysRead;
use crate::cpu::MAX_CPUS;

/// Where a BIOS may leave the root pointer, and everybody looks for it.
pub const BIOS_AREA: Range<u64> = 0xe_0000..0x10_0000;
/// No firmware has more configuration tables.
const MAX_EFI_TABLES: u64 = 256;
/// 8868e871-e4f1-11d3-bc22-0080c73c8881
const ACPI_2_GUID: [u8; 16] = [
    0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81,
];
/// eb9d2d30-2d88-11d3-9a16-0090273fc14d
const ACPI_1_GUID: [u8; 16] = [
    0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d,
];

/// The most I/O APICs we use.
pub const MAX_IO_APICS: usize = 8;

/// Where the machine's interrupt controllers and its power switch are.
#[derive(Clone, Debug, Default)]
pub struct Acpi {
    /// Where the root pointer lies, if that is no copy of the loader's.
    pub rsdp: Option<u64>,
    /// The local APICs' physical address.
    pub local_apic: u64,
    /// APIC ids of the enabled CPUs, the firmware's order.
    pub cpus: Vec<u32, MAX_CPUS>,
    /// The I/O APICs.
    pub io_apics: Vec<IoApic, MAX_IO_APICS>,
    /// Which ISA interrupts are wired otherwise than one to one, edge, active high.
    pub overrides: Vec<Override, 16>,
    /// How to switch off.
    pub power: Option<Power>,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Its registers' physical address.
    pub address: u64,
    /// The global system interrupt on its pin 0.
    pub gsi_base: u32,
}

/// An ISA interrupt's wiring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The ISA interrupt.
    pub irq: u8,
    /// The pin.
    pub gsi: u32,
    /// Whether it is active low.
    pub active_low: bool,
    /// Whether it is level-triggered.
    pub level: bool,
}

/// The registers of the power switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// I/O port of PM1a control.
    pub pm1a_control: u16,
    /// I/O port of PM1b control, 0 if there is none.
    pub pm1b_control: u16,
    /// `SLP_TYPa` of soft-off.
    pub sleep_type_a: u8,
    /// `SLP_TYPb` of soft-off.
    pub sleep_type_b: u8,
}

/// Finds and reads the tables; `None` on a machine without ACPI. EFI's system table leads to them,
/// or a BIOS has left them where every BIOS does; else the loader's copy of the root pointer does.
pub fn parse(memory: &impl PhysRead, loader: &BootInfo) -> Option<Acpi> {
    let system_table = loader.efi_system_table;
    let original = system_table
        .and_then(|at| rsdp_of_efi(memory, at))
        .or_else(|| find_rsdp(memory));
    let rsdp = original.or(loader.rsdp_copy)?;
    let mut acpi = Acpi {
        rsdp: original,
        ..Acpi::default()
    };
    for table in tables(memory, rsdp)? {
        match memory.array(table).as_ref() {
            Some(b"APIC") => read_madt(memory, table, &mut acpi),
            Some(b"FACP") => acpi.power = read_power(memory, table),
            _ => {}
        }
    }
    Some(acpi)
}

/// EFI's system table (UEFI 2.x, 4.3) names a table of GUIDs and addresses.
fn rsdp_of_efi(memory: &impl PhysRead, system_table: u64) -> Option<u64> {
    if memory.array(system_table) != Some(*b"IBI SYST") {
        return None;
    }
    let (count, table) = (
        memory.u64(system_table.checked_add(104)?)?,
        memory.u64(system_table.checked_add(112)?)?,
    );
    let find = |guid: [u8; 16]| {
        (0..count.min(MAX_EFI_TABLES)).find_map(|index| {
            let entry = table.checked_add(24 * index)?;
            (memory.array(entry)? == guid).then(|| memory.u64(entry + 16))?
        })
    };
    find(ACPI_2_GUID)
        .or_else(|| find(ACPI_1_GUID))
        .filter(|at| memory.array(*at) == Some(*b"RSD PTR "))
}

/// The root pointer lies in the EBDA's first kilobyte or in the BIOS area, 16-byte aligned.
fn find_rsdp(memory: &impl PhysRead) -> Option<u64> {
    let ebda = u64::from(memory.u16(0x40e).unwrap_or(0)) << 4;
    let ebda = if (0x400..0xa_0000).contains(&ebda) {
        ebda
    } else {
        0x9_fc00
    };
    (ebda..ebda + 1024)
        .step_by(16)
        .chain(BIOS_AREA.step_by(16))
        .find(|at| memory.array(*at) == Some(*b"RSD PTR ") && sums_to_zero(memory, *at, 20))
}

fn sums_to_zero(memory: &impl PhysRead, at: u64, length: u64) -> bool {
    (0..length).try_fold(0u8, |sum, offset| {
        Some(sum.wrapping_add(memory.u8(at + offset)?))
    }) == Some(0)
}

/// The addresses of all tables, from the XSDT if there is one.
fn tables(memory: &impl PhysRead, rsdp: u64) -> Option<Vec<u64, 64>> {
    let xsdt = if memory.u8(rsdp + 15)? >= 2 {
        memory.u64(rsdp + 24)?
    } else {
        0
    };
    let (root, width) = if xsdt != 0 {
        (xsdt, 8)
    } else {
        (memory.u32(rsdp + 16)?.into(), 4)
    };
    let end = root + u64::from(memory.u32(root + 4)?);
    let entries = (root + 36..end).step_by(width).map_while(|at| match width {
        8 => memory.u64(at),
        _ => memory.u32(at).map(u64::from),
    });
    Some(entries.take(64).collect())
}

fn read_madt(memory: &impl PhysRead, madt: u64, acpi: &mut Acpi) {
    let end = madt + u64::from(memory.u32(madt + 4).unwrap_or(0));
    acpi.local_apic = memory.u32(madt + 36).unwrap_or(0).into();
    let mut at = madt + 44;
    while at < end {
        let length = memory.u8(at + 1).unwrap_or(0);
        if length < 2 || read_madt_entry(memory, at, acpi).is_none() {
            return;
        }
        at += u64::from(length);
    }
}

/// One entry: its first byte is its type. Surplus CPUs and controllers are left out.
fn read_madt_entry(memory: &impl PhysRead, at: u64, acpi: &mut Acpi) -> Option<()> {
    match memory.u8(at)? {
        0 if memory.u32(at + 4)? & 1 != 0 => {
            let _ = acpi.cpus.push(memory.u8(at + 3)?.into());
        }
        1 => {
            let _ = acpi.io_apics.push(IoApic {
                id: memory.u8(at + 2)?,
                address: memory.u32(at + 4)?.into(),
                gsi_base: memory.u32(at + 8)?,
            });
        }
        2 => {
            let flags = memory.u16(at + 8)?;
            let _ = acpi.overrides.push(Override {
                irq: memory.u8(at + 3)?,
                gsi: memory.u32(at + 4)?,
                active_low: flags & 3 == 3,
                level: flags >> 2 & 3 == 3,
            });
        }
        5 => acpi.local_apic = memory.u64(at + 4)?,
        9 if memory.u32(at + 8)? & 1 != 0 => {
            let _ = acpi.cpus.push(memory.u32(at + 4)?);
        }
        _ => {}
    }
    Some(())
}

fn read_power(memory: &impl PhysRead, fadt: u64) -> Option<Power> {
    let dsdt = match memory.u32(fadt + 40)? {
        0 => memory.u64(fadt + 140)?,
        low => low.into(),
    };
    let (sleep_type_a, sleep_type_b) = find_s5(memory, dsdt)?;
    Some(Power {
        pm1a_control: u16::try_from(memory.u32(fadt + 64)?).ok()?,
        pm1b_control: u16::try_from(memory.u32(fadt + 68)?).unwrap_or(0),
        sleep_type_a,
        sleep_type_b,
    })
}

/// Looks for `Name (_S5_, Package () { a, b, … })`: the name, PackageOp, one byte of length, the
/// element count, then each element as ZeroOp, OneOp or BytePrefix and a byte.
fn find_s5(memory: &impl PhysRead, dsdt: u64) -> Option<(u8, u8)> {
    let end = dsdt + u64::from(memory.u32(dsdt + 4)?);
    let name = (dsdt + 36..end.saturating_sub(4)).find(|at| memory.array(*at) == Some(*b"_S5_"))?;
    if memory.u8(name + 4)? != 0x12 {
        return None;
    }
    let (a, after) = aml_byte(memory, name + 7)?;
    let (b, _) = aml_byte(memory, after)?;
    Some((a, b))
}

fn aml_byte(memory: &impl PhysRead, at: u64) -> Option<(u8, u64)> {
    match memory.u8(at)? {
        0x0a => Some((memory.u8(at + 1)?, at + 2)),
        value @ 0..=1 => Some((value, at + 1)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "acpi_tests.rs"]
mod tests;
