//! `set_timer_op`: the older way to set the calling vCPU's timer.

use guest_abi::ids::Virq;

use super::{Call, Reply};
use crate::{event, sched, time};

/// What lies further ahead than this (about 13 days) is a guest whose clock has wrapped.
const FAR_AHEAD_NS: u64 = 1 << 50;
/// It has something to do, but may also mean "no timer": soon is early enough.
const SOON_NS: u64 = 100_000_000;

/// What a requested timeout means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timeout {
    Stop,
    Now,
    At(u64),
}

/// Sets the timer to the system time in the first argument; 0 stops it.
///
/// # Errors
/// None.
pub fn set_timer_op(call: &mut Call<'_>) -> Reply {
    let [timeout, ..] = call.args;
    let timeout = interpret(timeout, time::now());
    let deadline = match timeout {
        Timeout::At(deadline) => Some(deadline),
        Timeout::Stop | Timeout::Now => None,
    };

    sched::set_timers(call.vcpu, |timers| timers.singleshot_ns = deadline);
    if timeout == Timeout::Now {
        event::send_virq(call.vcpu, Virq::Timer);
    }
    Ok(0)
}

fn interpret(timeout_ns: u64, now: u64) -> Timeout {
    match timeout_ns {
        0 => Timeout::Stop,
        past if past <= now => Timeout::Now,
        // Negative numbers are among these.
        far if far - now > FAR_AHEAD_NS => Timeout::At(now.saturating_add(SOON_NS)),
        deadline => Timeout::At(deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::{SOON_NS, Timeout, interpret};

    #[test]
    fn zero_stops_and_the_past_is_now() {
        assert_eq!(interpret(0, 100), Timeout::Stop);
        assert_eq!(interpret(100, 100), Timeout::Now);
        assert_eq!(interpret(101, 100), Timeout::At(101));
    }

    #[test]
    fn a_wrapped_clock_gets_its_timer_soon() {
        for absurd in [1 << 63, u64::MAX, (1 << 51) + 100] {
            assert_eq!(interpret(absurd, 100), Timeout::At(100 + SOON_NS));
        }
    }
}
