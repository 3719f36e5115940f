//! `multicall`: a batch of hypercalls, carried out in order, each with its own result.

use guest_abi::errno::Errno;
use guest_abi::hypercall::Hypercall;
use guest_abi::multicall::MulticallEntry;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop, table};

/// Entries carried out before the call pauses, so that no batch keeps a CPU for long.
const ENTRIES_A_TURN: u64 = 64;

/// Carries the batch out. A call in it that pauses is resumed at its own entry, whose arguments in
/// the guest's memory say what remains; so does the batch itself.
pub fn multicall(call: &mut Call<'_>) -> Reply {
    let [entries, count, ..] = call.args;
    let count = count & 0xffff_ffff;
    let entries = GuestPtr::<MulticallEntry>::new(entries);
    for index in 0..count {
        let place = entries.at(index)?;
        if index == ENTRIES_A_TURN {
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
