//! The wall clock: what the date was when the system time was zero.
//!
//! Each guest finds it in its `shared_info` and adds the system time. dom0 may set it; every
//! domain's page then follows, by the same protocol of odd and even versions as the time records.

use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use guest_abi::shared_info::SharedInfo;

use crate::arch;
use crate::arch::shared_page::SharedPage;
use crate::domain::{Domain, table};
use crate::sync::SpinLock;

/// UNIX time at system time zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallClock {
    seconds: u64,
    nanoseconds: u32,
}

const SECOND_NS: u64 = 1_000_000_000;

/// What dom0 set; until then, what the host's own clock said.
static SET: SpinLock<Option<WallClock>> = SpinLock::new(None);

impl WallClock {
    /// The clock that shows `seconds` and `nanoseconds` since 1970 at system time `at_ns`.
    ///
    /// A date before the start of the host, or of the era, is taken as that start.
    pub fn shown_at(seconds: u64, nanoseconds: u32, at_ns: u64) -> Self {
        let shown = u128::from(seconds) * u128::from(SECOND_NS) + u128::from(nanoseconds);
        let start = shown.saturating_sub(u128::from(at_ns));
        let nanoseconds = u32::try_from(start % u128::from(SECOND_NS)).unwrap_or(0);
        Self {
            seconds: u64::try_from(start / u128::from(SECOND_NS)).unwrap_or(u64::MAX),
            nanoseconds,
        }
    }
}

/// The wall clock as it stands.
pub fn get() -> WallClock {
    SET.lock().unwrap_or_else(|| WallClock {
        seconds: arch::clock::wall_clock_base(),
        nanoseconds: 0,
    })
}

/// Sets the wall clock, and tells every domain.
pub fn set(clock: WallClock) {
    *SET.lock() = Some(clock);
    for domain in table::all() {
        publish(&domain);
    }
}

/// Writes the wall clock into a domain's shared page.
pub fn publish(domain: &Domain) {
    let clock = get();
    let page = SharedPage::new(domain.shared_info.mfn());
    let [s0, s1, s2, s3, s4, s5, s6, s7] = clock.seconds.to_le_bytes();
    let low = u32::from_le_bytes([s0, s1, s2, s3]);
    let high = u32::from_le_bytes([s4, s5, s6, s7]);

    let version = page.atomic_u32(offset_of!(SharedInfo, wc_version));
    let odd = version.load(Ordering::Relaxed) | 1;
    version.store(odd, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    for (offset, value) in [
        (offset_of!(SharedInfo, wc_sec), low),
        (offset_of!(SharedInfo, wc_nsec), clock.nanoseconds),
        (offset_of!(SharedInfo, wc_sec_hi), high),
    ] {
        page.atomic_u32(offset).store(value, Ordering::Relaxed);
    }
    fence(Ordering::SeqCst);
    version.store(odd.wrapping_add(1), Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::WallClock;

    #[test]
    fn the_clock_goes_back_to_system_time_zero() {
        let clock = WallClock::shown_at(1_000, 5, 2_000_000_006);
        assert_eq!((clock.seconds, clock.nanoseconds), (997, 999_999_999));
    }

    #[test]
    fn a_date_before_the_era_is_the_era() {
        let clock = WallClock::shown_at(1, 0, 5_000_000_000);
        assert_eq!((clock.seconds, clock.nanoseconds), (0, 0));
    }
}
