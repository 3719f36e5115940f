//! `multicall`: a batch of hypercalls, carried out in order, each with its own result.

use guest_abi::errno::Errno;
use guest_abi::hypercall::Hypercall;
use guest_abi::multicall::MulticallEntry;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop, table};
use crate::time;

/// Entries carried out before the call pauses, so that no batch keeps a CPU for long …
const ENTRIES_A_TURN: u64 = 64;
/// … and for how long it goes on with them: each may do as much as a call of its own may.
const TURN_NS: u64 = 500_000;

/// Carries the batch out. A call in it that pauses is resumed at its own entry, whose arguments in
/// the guest's memory say what remains; so does the batch itself.
pub fn multicall(call: &mut Call<'_>) -> Reply {
    let [entries, count, ..] = call.args;
    let count = count & 0xffff_ffff;
    let entries = GuestPtr::<MulticallEntry>::new(entries);
    let start = time::now();
    for index in 0..count {
        let place = entries.at(index)?;
        if is_turn_over(index, time::now().saturating_sub(start)) {
            return pause(call, place, count - index);
        }
        let mut entry = place.copy_in()?;
        let mut inner = Call {
            vcpu: call.vcpu,
            args: entry.args,
        };
        match run(entry.op, &mut inner) {
            Ok(value) => entry.result = value,
            Err(Stop::Errno(errno)) => entry.result = errno.to_result_register(),
            Err(Stop::Again) => {
                entry.args = inner.args;
                place.copy_out(&entry)?;
                return pause(call, place, count - index);
            }
            Err(stop @ Stop::Crash(_)) => return Err(stop),
        }
        place.copy_out(&entry)?;
    }
    Ok(0)
}

/// Whether the call pauses after `done` entries that took `spent_ns`. Each turn gets on by one.
const fn is_turn_over(done: u64, spent_ns: u64) -> bool {
    done >= ENTRIES_A_TURN || done > 0 && spent_ns >= TURN_NS
}

/// A batch in a batch would have no bound.
fn run(number: u64, call: &mut Call<'_>) -> Reply {
    if number == Hypercall::Multicall.number() {
        return Err(Errno::EINVAL.into());
    }
    table::dispatch(number, call)
}

fn pause(call: &mut Call<'_>, place: GuestPtr<MulticallEntry>, left: u64) -> Reply {
    let [entries, count, ..] = &mut call.args;
    (*entries, *count) = (place.address().get(), left);
    Err(Stop::Again)
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_A_TURN, TURN_NS, is_turn_over};

    #[test]
    fn a_batch_of_costly_calls_pauses_after_its_time_but_always_gets_on() {
        assert!(!is_turn_over(0, u64::MAX));
        assert!(!is_turn_over(1, TURN_NS - 1));
        assert!(is_turn_over(1, TURN_NS));
        assert!(is_turn_over(ENTRIES_A_TURN, 0));
    }
}
