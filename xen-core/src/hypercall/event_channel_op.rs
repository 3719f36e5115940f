//! `event_channel_op`: opening, connecting, using and closing ports.

use guest_abi::errno::Errno;
use guest_abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVcpu, BindVirq, Close, EventChannelOp,
    Reset, Send, Status, Unmask,
};
use guest_abi::ids::{DomId, Port, VcpuId, Virq};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::event::port::PortState;
use crate::event::{self, Progress, bind};

/// Ports that one step of a reset closes.
const RESET_BUDGET: u32 = 64;

/// `event_channel_op(command, argument)`.
pub fn event_channel_op(call: &mut Call<'_>) -> Reply {
    let [command, argument, ..] = call.args;
    let command = EventChannelOp::from_register(command).ok_or(Errno::ENOSYS)?;
    match command {
        EventChannelOp::BindInterdomain => answered(call, argument, bind_interdomain),
        EventChannelOp::BindVirq => answered(call, argument, bind_virq),
        EventChannelOp::BindPirq => answered(call, argument, bind_pirq),
        EventChannelOp::Status => answered(call, argument, status),
        EventChannelOp::AllocUnbound => answered(call, argument, alloc_unbound),
        EventChannelOp::BindIpi => answered(call, argument, bind_ipi),
        EventChannelOp::Close => told(call, argument, close),
        EventChannelOp::Send => told(call, argument, send),
        EventChannelOp::BindVcpu => told(call, argument, bind_vcpu),
        EventChannelOp::Unmask => told(call, argument, unmask),
        EventChannelOp::Reset => told(call, argument, reset),
        // The FIFO ABI: guests fall back to the 2-level one.
        EventChannelOp::InitControl | EventChannelOp::ExpandArray | EventChannelOp::SetPriority => {
            Err(Errno::ENOSYS.into())
        }
    }
}

/// An operation whose structure goes back with an answer in it.
fn answered<T: FromBytes + IntoBytes + Immutable>(
    call: &Call<'_>,
    argument: u64,
    operation: impl FnOnce(&Call<'_>, &mut T) -> Result<(), Errno>,
) -> Reply {
    let argument = GuestPtr::<T>::new(argument);
    let mut op = argument.copy_in()?;
    operation(call, &mut op)?;
    argument.copy_out(&op)?;
    Ok(0)
}

/// An operation whose structure only goes in.
fn told<T: FromBytes + IntoBytes + Immutable>(
    call: &Call<'_>,
    argument: u64,
    operation: impl FnOnce(&Call<'_>, &T) -> Result<(), Stop>,
) -> Reply {
    operation(call, &GuestPtr::<T>::new(argument).copy_in()?)?;
    Ok(0)
}

fn alloc_unbound(call: &Call<'_>, op: &mut AllocUnbound) -> Result<(), Errno> {
    // Only a privileged caller opens a port on another domain's behalf.
    let owner = call.resolve(op.dom)?;
    let remote = op.remote_dom.resolve(call.domain().id);
    op.port = bind::alloc_unbound(&owner, remote)?;
    Ok(())
}

fn bind_interdomain(call: &Call<'_>, op: &mut BindInterdomain) -> Result<(), Errno> {
    let remote = call.lookup(op.remote_dom)?;
    op.local_port = bind::bind_interdomain(call.vcpu.domain_ref(), &remote, op.remote_port)?;
    Ok(())
}

fn bind_virq(call: &Call<'_>, op: &mut BindVirq) -> Result<(), Errno> {
    let virq = Virq::from_number(op.virq).ok_or(Errno::EINVAL)?;
    op.port = event::deliver::bind_virq(call.vcpu.domain_ref(), virq, op.vcpu)?;
    Ok(())
}

fn bind_pirq(call: &Call<'_>, op: &mut BindPirq) -> Result<(), Errno> {
    call.require_privilege()?;
    op.port = event::lines::bind(call.vcpu.domain_ref(), op.pirq)?;
    Ok(())
}

fn bind_ipi(call: &Call<'_>, op: &mut BindIpi) -> Result<(), Errno> {
    existing_vcpu(call, op.vcpu)?;
    op.port = call.domain().events.ports().open(PortState::Ipi, op.vcpu)?;
    Ok(())
}

fn existing_vcpu(call: &Call<'_>, vcpu: VcpuId) -> Result<(), Errno> {
    call.domain().vcpu(vcpu).map(drop).ok_or(Errno::ENOENT)
}

fn status(call: &Call<'_>, op: &mut Status) -> Result<(), Errno> {
    let domain = call.resolve(op.dom)?;
    let (state, vcpu) = domain.events.ports().status(op.port)?;
    let of_domain = |domain: DomId| u32::from(domain.get());
    let (detail, remote_port) = match state {
        PortState::Free | PortState::Ipi => (0, Port::new(0)),
        PortState::Unbound { remote } => (of_domain(remote), Port::new(0)),
        PortState::Interdomain { remote, port } => (of_domain(remote), port),
        PortState::Pirq(pirq) => (pirq, Port::new(0)),
        PortState::Virq(virq) => (virq.number(), Port::new(0)),
    };
    *op = Status {
        status: state.status().number(),
        vcpu,
        detail,
        remote_port,
        ..*op
    };
    Ok(())
}

fn close(call: &Call<'_>, op: &Close) -> Result<(), Stop> {
    event::close(call.vcpu.domain_ref(), op.port).map_err(Errno::from)?;
    Ok(())
}

fn send(call: &Call<'_>, op: &Send) -> Result<(), Stop> {
    bind::send(call.vcpu.domain_ref(), op.port).map_err(Errno::from)?;
    Ok(())
}

fn bind_vcpu(call: &Call<'_>, op: &BindVcpu) -> Result<(), Stop> {
    existing_vcpu(call, op.vcpu)?;
    bind::bind_vcpu(call.vcpu.domain_ref(), op.port, op.vcpu).map_err(Errno::from)?;
    Ok(())
}

fn unmask(call: &Call<'_>, op: &Unmask) -> Result<(), Stop> {
    event::deliver::unmask(call.vcpu.domain_ref(), op.port).map_err(Errno::from)?;
    Ok(())
}

/// Closes all ports of a domain, some at a time. What is left is seen from the ports themselves,
/// so the arguments stay as they are.
fn reset(call: &Call<'_>, op: &Reset) -> Result<(), Stop> {
    let domain = call.resolve(op.dom)?;
    match event::close_some(&domain, RESET_BUDGET) {
        Progress::Done => Ok(()),
        Progress::More => Err(Stop::Again),
    }
}
