//! `vcpu_op`: bringing vCPUs up and down, their records in guest memory, and their timers.
//!
//! A vCPU's operations reach its own domain's vCPUs only, so none needs privilege.

use alloc::vec::Vec;

use guest_abi::errno::Errno;
use guest_abi::ids::{VcpuId, Virq};
use guest_abi::sched::ShutdownReason;
use guest_abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterTimeMemoryArea, RegisterVcpuInfo, RunstateInfo,
    SetPeriodicTimer, SetSingleshotTimer, SingleshotFlags, VcpuGuestContext, VcpuOp,
};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::domain::VcpuRef;
use crate::sched::timer::Periodic;
use crate::time::pvclock;
use crate::{event, sched, time, trap};

/// The shortest period of a timer: 1 ms. What comes more often would be a storm.
const MIN_PERIOD_NS: u64 = 1_000_000;
/// The longest: about 13 days.
const MAX_PERIOD_NS: u64 = 1 << 50;

/// Dispatches by the command in the first argument; the second names the vCPU and the third leads
/// to a structure.
///
/// # Errors
/// `ENOENT` for a vCPU that the domain has not, `ENOSYS` for an unknown command, else as the
/// operation says.
pub fn vcpu_op(call: &mut Call<'_>) -> Reply {
    let [command, id, argument, ..] = call.args;
    let vcpu = u32::try_from(id)
        .ok()
        .and_then(|id| VcpuRef::new(call.vcpu.domain_ref(), VcpuId::new(id)))
        .ok_or(Errno::ENOENT)?;
    match VcpuOp::from_register(command).ok_or(Errno::ENOSYS)? {
        VcpuOp::Initialise => initialise(&vcpu, GuestPtr::new(argument))?,
        VcpuOp::Up => up(&vcpu)?,
        VcpuOp::Down => down(&vcpu),
        VcpuOp::IsUp => return Ok(i64::from(vcpu.sched.is_up())),
        VcpuOp::GetRunstateInfo => {
            GuestPtr::<RunstateInfo>::new(argument).copy_out(&vcpu.sched.runstate().info())?;
        }
        VcpuOp::RegisterRunstateMemoryArea => {
            register_runstate(call, &vcpu, GuestPtr::new(argument))?;
        }
        VcpuOp::SetPeriodicTimer => set_periodic_timer(&vcpu, GuestPtr::new(argument))?,
        VcpuOp::StopPeriodicTimer => sched::set_timers(&vcpu, |timers| timers.periodic = None),
        VcpuOp::SetSingleshotTimer => {
            set_singleshot_timer(own(call, vcpu)?, GuestPtr::new(argument))?;
        }
        VcpuOp::StopSingleshotTimer => {
            sched::set_timers(&own(call, vcpu)?, |timers| timers.singleshot_ns = None);
        }
        VcpuOp::RegisterVcpuInfo => register_vcpu_info(call, &vcpu, GuestPtr::new(argument))?,
        VcpuOp::RegisterVcpuTimeMemoryArea => register_time_area(GuestPtr::new(argument))?,
        VcpuOp::SendNmi => send_nmi(&vcpu),
        // No CPU's number is a guest's business.
        VcpuOp::GetPhysid => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

/// The vCPU named, if it is the caller.
fn own(call: &Call<'_>, vcpu: VcpuRef) -> Result<VcpuRef, Errno> {
    if vcpu.is(call.vcpu) {
        Ok(vcpu)
    } else {
        Err(Errno::EINVAL)
    }
}

fn initialise(vcpu: &VcpuRef, argument: GuestPtr<VcpuGuestContext>) -> Result<(), Stop> {
    if vcpu.sched.is_initialised() {
        return Err(Errno::EEXIST.into());
    }
    if event::vcpu_info(vcpu).is_none() {
        return Err(Errno::EINVAL.into());
    }
    // Five kilobytes: too much for the stack.
    let mut context = Vec::new();
    context.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
    context.push(VcpuGuestContext::default());
    argument.copy_in_slice(&mut context)?;
    let context = context.first().ok_or(Errno::ENOMEM)?;

    // Until all of it is in place nobody may bring the vCPU up: it has no root to run on.
    if !vcpu.sched.begin_initialise() {
        return Err(Errno::EEXIST.into());
    }
    trap::initialise(vcpu, context).inspect_err(|_| vcpu.sched.clear_initialised())?;
    vcpu.sched.set_initialised();
    Ok(())
}

fn up(vcpu: &VcpuRef) -> Result<(), Errno> {
    if !vcpu.sched.is_initialised() {
        return Err(Errno::EINVAL);
    }
    sched::bring_up(vcpu);
    Ok(())
}

/// Takes a vCPU down. With the last one goes the domain.
fn down(vcpu: &VcpuRef) {
    if !sched::take_down(vcpu) {
        vcpu.domain().shutdown(ShutdownReason::Poweroff);
    }
}

/// Raises an NMI in a vCPU, which takes it even if it sleeps.
fn send_nmi(vcpu: &VcpuRef) {
    vcpu.entry.raise_nmi();
    sched::wake(vcpu);
}

fn register_runstate(
    call: &Call<'_>,
    vcpu: &VcpuRef,
    argument: GuestPtr<RegisterRunstateMemoryArea>,
) -> Result<(), Errno> {
    let area = argument.copy_in()?;

    sched::register_runstate(call.vcpu, vcpu, area.addr.get())
}

fn set_periodic_timer(vcpu: &VcpuRef, argument: GuestPtr<SetPeriodicTimer>) -> Result<(), Errno> {
    let period_ns = argument.copy_in()?.period_ns;
    if !(MIN_PERIOD_NS..=MAX_PERIOD_NS).contains(&period_ns) {
        return Err(Errno::EINVAL);
    }
    let next_ns = time::now().saturating_add(period_ns);

    sched::set_timers(vcpu, |timers| {
        timers.periodic = Some(Periodic { period_ns, next_ns });
    });
    Ok(())
}

/// Sets the caller's timer. A time in the past fires at once.
fn set_singleshot_timer(
    vcpu: VcpuRef,
    argument: GuestPtr<SetSingleshotTimer>,
) -> Result<(), Errno> {
    let wish = argument.copy_in()?;
    let is_past = wish.timeout_abs_ns <= time::now();
    if is_past && wish.flags & SingleshotFlags::FUTURE.bits() != 0 {
        return Err(Errno::ETIME);
    }
    let deadline = (!is_past).then_some(wish.timeout_abs_ns);

    sched::set_timers(&vcpu, |timers| timers.singleshot_ns = deadline);
    if is_past {
        event::send_virq(&vcpu, Virq::Timer);
    }
    Ok(())
}

/// Moves the `vcpu_info` of the caller, or of a vCPU that is down; its time record moves with it.
fn register_vcpu_info(
    call: &Call<'_>,
    vcpu: &VcpuRef,
    argument: GuestPtr<RegisterVcpuInfo>,
) -> Result<(), Errno> {
    let place = argument.copy_in()?;
    if !vcpu.is(call.vcpu) && vcpu.sched.is_up() {
        return Err(Errno::EINVAL);
    }
    event::register_vcpu_info(vcpu, place.mfn, place.offset)?;
    pvclock::publish(vcpu);
    Ok(())
}

/// Writes the time record where the guest wants to read it without the core: it never changes, so
/// once is enough, and there is nothing to remember.
fn register_time_area(argument: GuestPtr<RegisterTimeMemoryArea>) -> Result<(), Errno> {
    let area = argument.copy_in()?;
    if area.addr.is_null() {
        return Ok(());
    }
    GuestPtr::new(area.addr.get()).copy_out(&pvclock::record())
}
