//! `console_io`: the emergency console.
//!
//! dom0 writes to the serial port as it likes and reads what is typed there. Anybody else's output
//! becomes lines of the core's log, prefixed with the domain and limited in rate.

use guest_abi::console_io::ConsoleIoOp;
use guest_abi::errno::Errno;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::debug::console;

/// How many bytes are moved at a time.
const CHUNK: usize = 128;
/// How many chunks one pass through the core may take for dom0; others get one.
const CHUNKS_A_PASS: usize = 16;

/// Dispatches by the command in the first argument; then come a count and an address.
///
/// # Errors
/// `ENOSYS` for an unknown command, `EPERM` when an unprivileged domain reads.
pub fn console_io(call: &mut Call<'_>) -> Reply {
    let [command, count, address, ..] = call.args;
    // A C int in Xen: negative counts are refused.
    let count = i32::try_from(count.cast_signed()).or(Err(Errno::EINVAL))?;
    let count = usize::try_from(count).or(Err(Errno::EINVAL))?;
    match ConsoleIoOp::from_register(command).ok_or(Errno::ENOSYS)? {
        ConsoleIoOp::Write => write(call, count, GuestPtr::new(address)),
        ConsoleIoOp::Read => read(call, count, GuestPtr::new(address)),
    }
}

fn write(call: &mut Call<'_>, count: usize, from: GuestPtr<u8>) -> Reply {
    let mut done = 0;
    let mut chunk = [0; CHUNK];
    let chunks = if call.domain().privileged {
        CHUNKS_A_PASS
    } else {
        1
    };
    for _ in 0..chunks {
        let size = (count - done).min(CHUNK);
        if size == 0 {
            return Ok(0);
        }
        let bytes = chunk.get_mut(..size).ok_or(Errno::EINVAL)?;
        from.at(done as u64)?.copy_in_slice(bytes)?;
        if call.domain().privileged {
            console::write_raw(bytes);
        } else {
            call.domain().console.write(call.domain().id, bytes);
        }
        done += size;
    }
    if done == count {
        return Ok(0);
    }
    call.args[1] = (count - done) as u64;
    call.args[2] = from.at(done as u64)?.address().get();
    Err(Stop::Again)
}

/// Answers how many bytes were read; none wait more often than not.
fn read(call: &Call<'_>, count: usize, into: GuestPtr<u8>) -> Reply {
    call.require_privilege()?;
    let mut chunk = [0; CHUNK];
    let room = count.min(CHUNK);
    let room = chunk.get_mut(..room).ok_or(Errno::EINVAL)?;
    let got = console::read_input(room);
    let bytes = room.get(..got).ok_or(Errno::EINVAL)?;

    into.copy_out_slice(bytes)?;
    Ok(i64::try_from(bytes.len()).unwrap_or(0))
}
