//! The one thing dom0 asks the firmware's tables: where PCI configuration space is mapped.
//!
//! ACPI 6.4, 5.2.5 (RSDP), 5.2.6 (headers), 5.2.7 and 5.2.8 (RSDT, XSDT); PCI Firmware 3.2, 4.1.2
//! (MCFG).

use alloc::vec::Vec;

use guest_abi::MachAddr;

/// Machine memory, as far as firmware tables are read from it.
pub trait Firmware {
    /// The `len` bytes from `start` on, if they can be had.
    fn bytes(&self, start: MachAddr, len: usize) -> Option<Vec<u8>>;

    /// Where the root pointer lies, if it is not where a BIOS leaves it.
    fn root_pointer(&self) -> Option<MachAddr>;
}

/// Where a BIOS leaves the root pointer.
const SEARCH_START: u64 = 0xe_0000;
const SEARCH_BYTES: usize = 0x2_0000;
const RSDP_BYTES: usize = 36;
const HEADER_BYTES: usize = 36;
/// No table of interest is longer; a longer one is damaged.
const MAX_TABLE_BYTES: usize = 64 << 10;

/// The machine address of bus 0's configuration space, from the MCFG table.
pub fn config_space_base(firmware: &impl Firmware) -> Option<MachAddr> {
    let root = find_root(firmware)?;
    let mcfg = entries(&root).find_map(|address| {
        let header = firmware.bytes(address, HEADER_BYTES)?;
        (header.get(..4) == Some(b"MCFG")).then(|| table(firmware, address))?
    })?;
    // One allocation of 16 bytes a segment, behind eight reserved bytes; the first is segment 0.
    number(&mcfg, HEADER_BYTES + 8, 8).map(MachAddr::new)
}

/// The value of `acpi_rsdp=` on the command line: where the firmware's root pointer lies.
pub fn root_pointer_argument(value: &str) -> Option<MachAddr> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    u64::from_str_radix(digits, 16).ok().map(MachAddr::new)
}

/// Reads the RSDT or XSDT.
fn find_root(firmware: &impl Firmware) -> Option<Vec<u8>> {
    let rsdp = match firmware.root_pointer() {
        Some(at) => firmware
            .bytes(at, RSDP_BYTES)
            .filter(|rsdp| is_root_pointer(rsdp))?,
        None => search(firmware)?,
    };
    let revision = *rsdp.get(15)?;
    let (at, width) = if revision >= 2 && sums_to_zero(&rsdp, RSDP_BYTES) {
        (24, 8)
    } else {
        (16, 4)
    };
    table(firmware, MachAddr::new(number(&rsdp, at, width)?))
}

/// Looks for the root pointer where a BIOS leaves it.
fn search(firmware: &impl Firmware) -> Option<Vec<u8>> {
    let area = firmware.bytes(MachAddr::new(SEARCH_START), SEARCH_BYTES)?;
    (0..area.len())
        .step_by(16)
        .filter_map(|at| area.get(at..)?.get(..RSDP_BYTES))
        .find(|rsdp| is_root_pointer(rsdp))
        .map(<[u8]>::to_vec)
}

fn is_root_pointer(rsdp: &[u8]) -> bool {
    rsdp.starts_with(b"RSD PTR ") && sums_to_zero(rsdp, 20)
}

/// A whole table, its checksum checked.
fn table(firmware: &impl Firmware, start: MachAddr) -> Option<Vec<u8>> {
    let header = firmware.bytes(start, HEADER_BYTES)?;
    let len = usize::try_from(number(&header, 4, 4)?).ok()?;
    let bytes = (len <= MAX_TABLE_BYTES).then(|| firmware.bytes(start, len))??;
    sums_to_zero(&bytes, len).then_some(bytes)
}

/// The addresses that a root table lists: eight bytes each in an XSDT, four in an RSDT.
fn entries(root: &[u8]) -> impl Iterator<Item = MachAddr> + '_ {
    let width = if root.starts_with(b"XSDT") { 8 } else { 4 };
    let list = root.get(HEADER_BYTES..).unwrap_or_default();
    list.chunks_exact(width)
        .filter_map(move |entry| number(entry, 0, width))
        .map(MachAddr::new)
}

fn sums_to_zero(bytes: &[u8], len: usize) -> bool {
    bytes
        .get(..len)
        .is_some_and(|part| part.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0)
}

/// A little-endian number of `width` bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Firmware with an RSDP, an RSDT and an MCFG.
    struct Fake(Vec<(u64, Vec<u8>)>, Option<u64>);

    impl Firmware for Fake {
        fn bytes(&self, start: MachAddr, len: usize) -> Option<Vec<u8>> {
            self.0.iter().find_map(|(base, bytes)| {
                let from = usize::try_from(start.get().checked_sub(*base)?).ok()?;
                bytes.get(from..from + len).map(<[u8]>::to_vec)
            })
        }

        fn root_pointer(&self) -> Option<MachAddr> {
            self.1.map(MachAddr::new)
        }
    }

    fn seal(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
        bytes[at] = 0;
        bytes[at] = 0u8.wrapping_sub(bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)));
        bytes
    }

    fn make_table(signature: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; HEADER_BYTES];
        bytes[..4].copy_from_slice(signature);
        bytes.extend_from_slice(body);
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        seal(bytes, 9)
    }

    fn fake() -> Fake {
        let mut area = alloc::vec![0; SEARCH_BYTES];
        let mut rsdp = alloc::vec![0; 20];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[16..20].copy_from_slice(&0x7000_0000u32.to_le_bytes());
        area[0x5a40..0x5a40 + 20].copy_from_slice(&seal(rsdp, 8));
        let mut allocation = alloc::vec![0; 8];
        allocation.extend_from_slice(&0xb000_0000u64.to_le_bytes());
        allocation.extend_from_slice(&[0; 8]);
        let root = make_table(b"RSDT", &0x7000_1000u32.to_le_bytes());
        let mcfg = make_table(b"MCFG", &allocation);
        let tables = alloc::vec![
            (SEARCH_START, area),
            (0x7000_0000, root),
            (0x7000_1000, mcfg)
        ];
        Fake(tables, None)
    }

    #[test]
    fn the_mcfg_table_names_configuration_space() {
        assert_eq!(config_space_base(&fake()), Some(MachAddr::new(0xb000_0000)));
    }

    #[test]
    fn a_root_pointer_that_is_told_needs_no_search() {
        let mut fake = fake();
        fake.0[0].0 = 0x7fb7_e000;
        assert_eq!(config_space_base(&fake), None);
        fake.1 = root_pointer_argument("0x7fb83a40").map(MachAddr::get);
        assert_eq!(config_space_base(&fake), Some(MachAddr::new(0xb000_0000)));
        assert_eq!(root_pointer_argument("efi"), None);
    }

    #[test]
    fn a_table_with_a_wrong_checksum_is_not_believed() {
        let mut fake = fake();
        fake.0[2].1[44] ^= 1;
        assert_eq!(config_space_base(&fake), None);
    }
}
