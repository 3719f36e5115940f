//! Names of virtual disks, and the numbers they stand for on the wire.
//!
//! A guest learns only the number. The schemes are those of Xen's `xen-vbd-interface(7)`:
//!
//! ```text
//!  xvda, xvda1, d0p1   202 << 8 | disk << 4 | partition    disks and partitions up to 15
//!                      1 << 28 | disk << 8 | partition     beyond that
//!  sda, sda1           8 << 8 | disk << 4 | partition
//!  hda, hda1           3 or 22 << 8 | disk % 2 << 6 | partition
//! ```

use alloc::format;
use alloc::string::String;
use core::fmt;

/// Disks that the widest scheme can number.
const MAX_DISK: u32 = (1 << 20) - 1;
/// Partitions that the widest scheme can number.
const MAX_PARTITION: u32 = 255;

/// A virtual disk's name with its number. Two names are the same disk if their numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdev {
    name: String,
    number: u32,
}

impl Vdev {
    /// Reads a name, or a bare number in decimal or behind `0x`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = match parse_number(text) {
            Some(number) => number,
            None => named(text)?,
        };
        Ok(Self {
            name: text.into(),
            number,
        })
    }

    /// As its author wrote it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Display for Vdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits(text),
    }
}

/// A number of decimal digits only.
fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn named(text: &str) -> Result<u32, String> {
    let wrong =
        || format!("`{text}` is no virtual disk; write xvda, xvda1, sda, hda, d0p0 or the like");
    let beyond = || format!("`{text}` is beyond the last disk or partition of its kind");
    if let Some((disk, partition)) = text.strip_prefix('d').and_then(|rest| rest.split_once('p')) {
        let disk = digits(disk).ok_or_else(wrong)?;
        return native(disk, digits(partition).ok_or_else(wrong)?).ok_or_else(beyond);
    }
    for (prefix, scheme) in SCHEMES {
        if let Some(rest) = text.strip_prefix(prefix) {
            let (disk, partition) = letters(rest).ok_or_else(wrong)?;
            return scheme(disk, partition).ok_or_else(beyond);
        }
    }
    Err(wrong())
}

/// How disk and partition become a number; `None` beyond what it can name.
type Scheme = fn(u32, u32) -> Option<u32>;

const SCHEMES: [(&str, Scheme); 3] = [("xvd", native), ("sd", scsi), ("hd", ide)];

/// `b7` is the second disk's partition 7, `aa` the disk behind `z`.
fn letters(text: &str) -> Option<(u32, u32)> {
    let end = text.bytes().take_while(u8::is_ascii_lowercase).count();
    let (letters, rest) = text.split_at_checked(end)?;
    let mut disk = 0_u32;
    for letter in letters.bytes() {
        let digit = u32::from(letter - b'a') + 1;
        disk = disk.checked_mul(26)?.checked_add(digit)?;
    }
    let partition = match rest {
        "" => 0,
        rest => digits(rest).filter(|&number| number > 0 && !rest.starts_with('0'))?,
    };
    // No letters leave 0.
    Some((disk.checked_sub(1)?, partition))
}

fn native(disk: u32, partition: u32) -> Option<u32> {
    match (disk, partition) {
        (0..=15, 0..=15) => Some(202 << 8 | disk << 4 | partition),
        (..=MAX_DISK, ..=MAX_PARTITION) => Some(1 << 28 | disk << 8 | partition),
        _ => None,
    }
}

fn scsi(disk: u32, partition: u32) -> Option<u32> {
    (disk <= 15 && partition <= 15).then_some(8 << 8 | disk << 4 | partition)
}

fn ide(disk: u32, partition: u32) -> Option<u32> {
    let major = if disk < 2 { 3 } else { 22 };
    (disk <= 3 && partition <= 63).then_some(major << 8 | (disk % 2) << 6 | partition)
}

#[cfg(test)]
mod tests {
    use super::Vdev;

    #[test]
    fn names_become_the_numbers_of_stock_xen() {
        for (name, number) in [
            ("xvda", 51712),
            ("xvda1", 51713),
            ("xvdb", 51728),
            ("xvdp15", 51967),
            ("xvdq", 1 << 28 | 16 << 8),
            ("xvda16", 1 << 28 | 16),
            ("xvdaa", 1 << 28 | 26 << 8),
            ("d0p0", 51712),
            ("d16p3", 1 << 28 | 16 << 8 | 3),
            ("sda", 2048),
            ("sdb2", 2066),
            ("hda", 768),
            ("hdd1", 22 << 8 | 65),
            ("51712", 51712),
            ("0xca00", 51712),
        ] {
            assert_eq!(Vdev::parse(name).unwrap().number(), number, "{name}");
        }
    }

    #[test]
    fn what_names_no_disk_is_refused() {
        for name in [
            "",
            "xvd",
            "xvda0",
            "xvda01",
            "xvdA",
            "vda",
            "d1",
            "dp",
            "d0p",
            "sdq",
            "hde",
            "xvda256",
            "d1048576p0",
            "xvdzzzzzzzzz",
            "sda16",
            "xvd1",
            "ä",
        ] {
            assert!(Vdev::parse(name).is_err(), "{name}");
        }
    }
}
