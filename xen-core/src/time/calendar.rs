//! Dates, as clocks on the board keep them.

/// A moment by the Gregorian calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DateTime {
    /// The full year.
    pub year: u64,
    /// 1 to 12.
    pub month: u64,
    /// 1 to 31.
    pub day: u64,
    /// 0 to 23.
    pub hour: u64,
    /// 0 to 59.
    pub minute: u64,
    /// 0 to 59.
    pub second: u64,
}

impl DateTime {
    /// Seconds since the start of 1970, for dates after it.
    pub fn to_unix(self) -> u64 {
        // Years start in March here, so that the leap day is the last of its year.
        let january_or_february = self.month <= 2;
        let year = self.year.max(1970) - u64::from(january_or_february);
        let month = (self.month + 9) % 12;
        let days = 365 * year + year / 4 - year / 100
            + year / 400
            + (153 * month + 2) / 5
            + self.day.max(1)
            - 1;
        // 719,468 days lie between 1 March of year 0 and 1 January 1970.
        let days = days.saturating_sub(719_468);
        days * 86_400 + self.hour * 3600 + self.minute * 60 + self.second
    }
}

/// A number from two decimal digits.
pub const fn from_bcd(value: u8) -> u8 {
    (value >> 4).saturating_mul(10).saturating_add(value & 0xf)
}

#[cfg(test)]
mod tests {
    use super::{DateTime, from_bcd};

    #[test]
    fn known_moments() {
        for (moment, seconds) in [
            ([1970, 1, 1, 0, 0, 0], 0),
            ([2000, 2, 29, 12, 0, 0], 951_825_600),
            ([2026, 1, 1, 0, 0, 0], 1_767_225_600),
            ([2038, 1, 19, 3, 14, 8], 1 << 31),
        ] {
            let [year, month, day, hour, minute, second] = moment;
            let date = DateTime {
                year,
                month,
                day,
                hour,
                minute,
                second,
            };
            assert_eq!(date.to_unix(), seconds);
        }
    }

    #[test]
    fn two_digits_in_a_byte() {
        assert_eq!(from_bcd(0x59), 59);
    }
}
