//! A limit on what a guest sends: a bucket of tokens, one a byte.
//!
//! Tokens come in steadily up to one interval's worth. A packet goes as soon as there are tokens
//! for it, or as many as the bucket holds; a longer one leaves a debt behind. So over any span
//! of time no more passes than its share, one bucket and one packet.

/// How much a guest may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes.
    pub bytes_per_interval: u64,
    /// In so many microseconds.
    pub interval_us: u32,
}

/// The bucket of one vif.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// Bytes times the nanoseconds of an interval, so that nothing is lost by rounding.
    tokens: i128,
    filled_at: u64,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate, now: u64) -> Self {
        let rate = Rate {
            bytes_per_interval: rate.bytes_per_interval.max(1),
            interval_us: rate.interval_us.max(1),
        };
        let mut bucket = Self {
            rate,
            tokens: 0,
            filled_at: now,
        };
        bucket.tokens = bucket.capacity();
        bucket
    }

    fn interval(&self) -> i128 {
        i128::from(self.rate.interval_us) * 1000
    }

    fn capacity(&self) -> i128 {
        i128::from(self.rate.bytes_per_interval) * self.interval()
    }

    /// Takes the tokens for a packet, or says when there will be enough.
    pub(super) fn take(&mut self, bytes: u16, now: u64) -> Result<(), u64> {
        let elapsed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        let fresh = i128::from(elapsed) * i128::from(self.rate.bytes_per_interval);
        self.tokens = (self.tokens + fresh).min(self.capacity());
        let price = i128::from(bytes) * self.interval();
        let missing = price.min(self.capacity()) - self.tokens;
        if missing > 0 {
            let rate = i128::from(self.rate.bytes_per_interval);
            let wait = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
            return Err(now.saturating_add(wait));
        }
        self.tokens -= price;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn over_any_time_no_more_passes_than_the_share(
            rate in (1_u64..10_000_000, 100_u32..1_000_000),
            packets in proptest::collection::vec((1_u16.., 0_u64..2_000_000), 1..300),
        ) {
            let rate = Rate { bytes_per_interval: rate.0, interval_us: rate.1 };
            let mut bucket = Bucket::new(rate, 0);
            let (mut now, mut passed) = (0, 0_u128);
            for (bytes, pause) in packets {
                now += pause;
                match bucket.take(bytes, now) {
                    Ok(()) => passed += u128::from(bytes),
                    Err(later) => {
                        prop_assert!(later > now);
                        now = later;
                        prop_assert!(bucket.take(bytes, now).is_ok(), "the time told is enough");
                        passed += u128::from(bytes);
                    }
                }
                let interval = u128::from(rate.interval_us) * 1000;
                let share = u128::from(now) * u128::from(rate.bytes_per_interval) / interval;
                let most = share + u128::from(rate.bytes_per_interval) + 65_536;
                prop_assert!(passed <= most, "{passed} > {most}");
            }
        }
    }

    #[test]
    fn a_guest_that_always_wants_to_send_gets_its_whole_share() {
        let rate = Rate {
            bytes_per_interval: 125_000,
            interval_us: 50_000,
        };
        let mut bucket = Bucket::new(rate, 0);
        let (mut now, mut passed) = (0, 0_u64);
        while now < 10_000_000_000 {
            match bucket.take(1514, now) {
                Ok(()) => passed += 1514,
                Err(later) => now = later,
            }
        }
        let share = 125_000 * 20 * 10;
        assert!((share..share + 130_000).contains(&passed), "{passed}");
    }
}
