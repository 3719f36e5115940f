//! `rate=`: how much a network card may send, as Xen's tools write it: `10Mb/s`, `1MB/s@20ms`.

use alloc::format;
use alloc::string::String;

/// How often credit is given where nothing is said, in microseconds.
const DEFAULT_INTERVAL: u32 = 50_000;

/// An amount per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// How often credit is given, in microseconds.
    pub interval_us: u32,
}

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate; write one like 10Mb/s or 1MB/s@20ms");
        let (amount, interval) = match text.split_once('@') {
            Some((amount, interval)) => (amount, Some(interval)),
            None => (text, None),
        };
        let rate = Self {
            bytes_per_second: amount_of(amount).ok_or_else(wrong)?,
            interval_us: match interval {
                Some(interval) => interval_of(interval).ok_or_else(wrong)?,
                None => DEFAULT_INTERVAL,
            },
        };
        if rate.bytes_per_interval() == 0 {
            return Err(format!(
                "`{text}` lets nothing through; write a higher rate"
            ));
        }
        Ok(rate)
    }

    /// The credit given each time.
    #[must_use]
    pub fn bytes_per_interval(self) -> u64 {
        let bytes = u128::from(self.bytes_per_second) * u128::from(self.interval_us) / 1_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// A number with what stands behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

/// Bytes a second.
fn amount_of(text: &str) -> Option<u64> {
    let (number, unit) = split(text.strip_suffix("/s")?)?;
    let (factor, unit) = match unit.as_bytes() {
        [b'K', unit @ ..] => (1_000, unit),
        [b'M', unit @ ..] => (1_000_000, unit),
        [b'G', unit @ ..] => (1_000_000_000, unit),
        unit => (1, unit),
    };
    let amount = number.checked_mul(factor)?;
    match unit {
        b"b" => Some(amount / 8),
        b"B" => Some(amount),
        _ => None,
    }
}

/// Microseconds.
fn interval_of(text: &str) -> Option<u32> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        _ => return None,
    };
    let interval = number.checked_mul(factor)?;
    // A second is long enough to be called a burst.
    u32::try_from(interval)
        .ok()
        .filter(|us| (1..=1_000_000).contains(us))
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn bits_and_bytes_are_told_apart() {
        for (text, bytes, interval, credit) in [
            ("10Mb/s", 1_250_000, 50_000, 62_500),
            ("250KB/s", 250_000, 50_000, 12_500),
            ("1MB/s@20ms", 1_000_000, 20_000, 20_000),
            ("2Gb/s@1s", 250_000_000, 1_000_000, 250_000_000),
            ("800b/s@100ms", 100, 100_000, 10),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!(
                (rate.bytes_per_second, rate.interval_us),
                (bytes, interval),
                "{text}"
            );
            assert_eq!(rate.bytes_per_interval(), credit, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "10",
            "10Mb",
            "Mb/s",
            "10Tb/s",
            "1MB/s@",
            "1MB/s@5",
            "1MB/s@5m",
            "1MB/s@0us",
            "1MB/s@2s",
            "0b/s",
            "1b/s",
            "99999999999999999999b/s",
        ] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }
}
