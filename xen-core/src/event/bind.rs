//! Opening, connecting, closing and using ports: the rules of `event_channel_op`.
//!
//! Everything here is generic over [`Endpoint`], so that the tests run it over plain domains
//! of their own and compare it with a naive model.

use guest_abi::ids::{DomId, Port, VcpuId};

use super::port::{PortError, PortState};
use super::table::{Binding, Endpoint, Ports, Progress};

/// Opens a port of `owner` that `remote` may connect to.
///
/// # Errors
/// See [`Ports::open`].
pub fn alloc_unbound<P: Endpoint>(owner: &P, remote: DomId) -> Result<Port, PortError> {
    owner
        .ports()
        .open(PortState::Unbound { remote }, VcpuId::new(0))
}

/// Connects a new port of `local` to the unbound `remote_port` of `remote`. The new port is
/// pending at once: whatever the peer sent before the connection is not lost.
///
/// # Errors
/// [`PortError::NotOpen`] or [`PortError::WrongState`] unless `remote_port` waits for `local`;
/// otherwise see [`Ports::open`].
pub fn bind_interdomain<P: Endpoint>(
    local: &P,
    remote: &P,
    remote_port: Port,
) -> Result<Port, PortError> {
    let boot = VcpuId::new(0);
    let port = local.ports().with_both(remote.ports(), |mine, theirs| {
        if theirs.is_some_and(|control| Ports::<P>::is_dying(control)) {
            return Err(PortError::Dying);
        }
        let slot = remote.ports().slot(remote_port)?;
        // Nobody else changes the slot's state while its domain's control lock is held, so the
        // refusal comes before anything is opened.
        slot.binding.lock().state.bind(local.id(), remote_port)?;
        let state = PortState::Interdomain {
            remote: remote.id(),
            port: remote_port,
        };
        let port = local
            .ports()
            .open_locked(mine, state, Some(remote.clone()), boot)?;
        let mut theirs = slot.binding.lock();
        theirs.state = theirs.state.bind(local.id(), port)?;
        theirs.peer = Some(local.clone());
        Ok(port)
    })?;
    local.notify(port, boot, local.raise(port, boot));
    Ok(port)
}

/// Sends on `port`: makes the other end pending. A port that waits for its peer swallows it.
///
/// # Errors
/// [`PortError::NotOpen`], or [`PortError::WrongState`] for ports that only the core raises.
pub fn send<P: Endpoint>(local: &P, port: Port) -> Result<(), PortError> {
    let slot = local.ports().slot(port)?;
    let binding = slot.binding.lock();
    let (target, port, vcpu) = match (&binding.state, &binding.peer) {
        (PortState::Interdomain { port, .. }, Some(peer)) => {
            (peer.clone(), *port, peer.ports().slot(*port)?.vcpu())
        }
        (PortState::Ipi, _) => (local.clone(), port, slot.vcpu()),
        (PortState::Unbound { .. }, _) => return Ok(()),
        (PortState::Free, _) => return Err(PortError::NotOpen),
        _ => return Err(PortError::WrongState),
    };
    let raised = target.raise(port, vcpu);
    drop(binding);
    target.notify(port, vcpu, raised);
    Ok(())
}

/// Raises `port` from within the core, if it still is `expected` (a VIRQ or a line).
pub fn raise_source<P: Endpoint>(local: &P, port: Port, expected: PortState) {
    let Ok(slot) = local.ports().slot(port) else {
        return;
    };
    let binding = slot.binding.lock();
    if binding.state != expected {
        return;
    }
    let vcpu = slot.vcpu();
    let raised = local.raise(port, vcpu);
    drop(binding);
    local.notify(port, vcpu, raised);
}

/// Closes `port`; its peer, if any, waits for a new connection. Returns what it was, for whoever
/// keeps the other half of a binding (VIRQ tables, lines), and the vCPU it was notified on.
///
/// # Errors
/// [`PortError::NotOpen`].
pub fn close<P: Endpoint>(local: &P, port: Port) -> Result<(PortState, VcpuId), PortError> {
    loop {
        let (state, peer, vcpu) = {
            let slot = local.ports().slot(port)?;
            let binding = slot.binding.lock();
            (binding.state, binding.peer.clone(), slot.vcpu())
        };
        let holds = match (state, &peer) {
            (PortState::Free, _) => return Err(PortError::NotOpen),
            (
                PortState::Interdomain {
                    port: remote_port, ..
                },
                Some(peer),
            ) => close_pair(local, port, peer, remote_port),
            _ => close_single(local, port, state),
        };
        // The holds on both domains go here, with no lock held: the last one frees a domain.
        if holds.is_some() {
            return Ok((state, vcpu));
        }
        // Somebody bound or closed the port between the look and the locks: look again.
    }
}

/// Closes both ends; `None` if the channel is no longer what it was.
fn close_pair<P: Endpoint>(
    local: &P,
    port: Port,
    peer: &P,
    remote_port: Port,
) -> Option<[Option<P>; 2]> {
    local.ports().with_both(peer.ports(), |mine, _| {
        let slot = local.ports().slot(port).ok()?;
        let their_slot = peer.ports().slot(remote_port).ok()?;
        let mut binding = slot.binding.lock();
        let same = matches!(binding.state, PortState::Interdomain { port, .. } if port == remote_port)
            && binding.peer.as_ref().is_some_and(|now| core::ptr::eq(now.ports(), peer.ports()));
        if !same {
            return None;
        }
        let mine_was = core::mem::replace(&mut *binding, Binding::free());
        drop(binding);
        let mut theirs = their_slot.binding.lock();
        theirs.state = theirs.state.peer_closed();
        let their_hold = theirs.peer.take();
        drop(theirs);
        // From here nobody sends to the port any more: it can be forgotten and given out again.
        local.forget(port);
        mine.release(port);
        Some([mine_was.peer, their_hold])
    })
}

/// Closes a port without a peer; `None` if it is no longer in `state`.
fn close_single<P: Endpoint>(local: &P, port: Port, state: PortState) -> Option<[Option<P>; 2]> {
    let mut control = local.ports().control.lock();
    let slot = local.ports().slot(port).ok()?;
    let mut binding = slot.binding.lock();
    if binding.state != state {
        return None;
    }
    let was = core::mem::replace(&mut *binding, Binding::free());
    drop(binding);
    local.forget(port);
    control.release(port);
    Some([was.peer, None])
}

/// Moves `port`'s notifications to `vcpu`.
///
/// # Errors
/// [`PortError::NotOpen`]; [`PortError::WrongState`] for per-vCPU sources.
pub fn bind_vcpu<P: Endpoint>(local: &P, port: Port, vcpu: VcpuId) -> Result<(), PortError> {
    let slot = local.ports().slot(port)?;
    let binding = slot.binding.lock();
    if binding.state == PortState::Free {
        return Err(PortError::NotOpen);
    }
    if !binding.state.may_move() {
        return Err(PortError::WrongState);
    }
    slot.set_vcpu(vcpu);
    Ok(())
}

/// Closes at most `budget` ports, the lowest first.
pub fn close_some<P: Endpoint>(
    local: &P,
    budget: u32,
    mut closed: impl FnMut(Port, PortState, VcpuId),
) -> Progress {
    for _ in 0..budget {
        let Some(port) = local.ports().lowest_open() else {
            return Progress::Done;
        };
        if let Ok((state, vcpu)) = close(local, port) {
            closed(port, state, vcpu);
        }
    }
    Progress::More
}
