//! `sched_op`: yielding, sleeping, and ending.

use guest_abi::errno::Errno;
use guest_abi::ids::Port;
use guest_abi::sched::{
    MAX_POLL_PORTS, PinOverride, Poll, RemoteShutdown, SchedOp, Shutdown, ShutdownReason, Watchdog,
};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply};
use crate::{event, sched};

/// Dispatches by the command in the first argument; the second leads to its structure.
///
/// # Errors
/// `ENOSYS` for an unknown command, else as the operation says.
pub fn sched_op(call: &mut Call<'_>) -> Reply {
    let [command, argument, ..] = call.args;
    match SchedOp::from_register(command).ok_or(Errno::ENOSYS)? {
        SchedOp::Yield => sched::yield_(call.vcpu),
        SchedOp::Block => block(call),
        SchedOp::Shutdown => shutdown(call, GuestPtr::new(argument))?,
        SchedOp::Poll => poll(call, GuestPtr::new(argument))?,
        SchedOp::RemoteShutdown => remote_shutdown(call, GuestPtr::new(argument))?,
        SchedOp::ShutdownCode => shutdown_code(call, GuestPtr::new(argument))?,
        SchedOp::Watchdog => return watchdog(call, GuestPtr::new(argument)),
        SchedOp::PinOverride => pin_override(call, GuestPtr::new(argument))?,
    }
    Ok(0)
}

/// Unmasks events and sleeps until one is to be delivered: at once, if one waits already.
fn block(call: &Call<'_>) {
    event::mask_upcalls(call.vcpu, false);
    sched::block(call.vcpu);
}

fn shutdown(call: &Call<'_>, argument: GuestPtr<Shutdown>) -> Result<(), Errno> {
    let reason = reason(argument.copy_in()?.reason)?;
    let domain = call.domain();

    domain.shutdown(domain.sched.shutdown_code_or(reason));
    Ok(())
}

fn poll(call: &Call<'_>, argument: GuestPtr<Poll>) -> Result<(), Errno> {
    let wish = argument.copy_in()?;
    if wish.nr_ports > MAX_POLL_PORTS {
        return Err(Errno::EINVAL);
    }
    let mut numbers = [0u32; MAX_POLL_PORTS as usize];
    let numbers = numbers
        .get_mut(..wish.nr_ports as usize)
        .ok_or(Errno::EINVAL)?;
    GuestPtr::new(wish.ports.get()).copy_in_slice(numbers)?;
    let mut ports = heapless::Vec::<Port, { MAX_POLL_PORTS as usize }>::new();
    ports.extend(numbers.iter().copied().map(Port::new));

    Ok(sched::poll(call.vcpu, &ports, wish.timeout)?)
}

fn remote_shutdown(call: &Call<'_>, argument: GuestPtr<RemoteShutdown>) -> Result<(), Errno> {
    call.require_privilege()?;
    let wish = argument.copy_in()?;
    let reason = reason(wish.reason)?;
    let domain = call.resolve(wish.domain_id)?;

    domain.shutdown(reason);
    Ok(())
}

/// Names the reason under which a later shutdown is recorded, whatever that one says.
fn shutdown_code(call: &Call<'_>, argument: GuestPtr<Shutdown>) -> Result<(), Errno> {
    let reason = reason(argument.copy_in()?.reason)?;

    call.domain().sched.set_shutdown_code(reason);
    Ok(())
}

/// Answers with the number of a new watchdog, or 0.
fn watchdog(call: &Call<'_>, argument: GuestPtr<Watchdog>) -> Reply {
    let wish = argument.copy_in()?;
    let domain = call.vcpu.domain_ref();
    match (wish.id, wish.timeout) {
        (0, 0) => Err(Errno::EINVAL.into()),
        (0, timeout) => {
            let number = sched::start_watchdog(domain, timeout).ok_or(Errno::ENOSPC)?;
            Ok(i64::from(number))
        }
        (number, timeout) if sched::pat_watchdog(domain, number, timeout) => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Ties the calling vCPU to one CPU for a while, as some firmware needs. A negative number ends it.
fn pin_override(call: &Call<'_>, argument: GuestPtr<PinOverride>) -> Result<(), Errno> {
    call.require_privilege()?;
    let wish = argument.copy_in()?;

    sched::pin_override(call.vcpu, wish.pcpu)
}

fn reason(number: u32) -> Result<ShutdownReason, Errno> {
    ShutdownReason::from_number(number).ok_or(Errno::EINVAL)
}
