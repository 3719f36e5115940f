//! A domain's ports: which are open, to what, and on which vCPU each is notified.
//!
//! Two kinds of lock, in this order:
//! 1. the *control* lock serialises everything that opens, binds or closes ports of one domain;
//!    an operation on both ends of a channel holds both domains' control locks, the one at the
//!    lower address first;
//! 2. each port's own lock covers its binding for the length of a look or a change. A sender
//!    takes only this one, of its own port: while it holds it, the peer cannot close and reuse
//!    the port at the other end, because closing changes both ends.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::ids::{DomId, Port, VcpuId};

use super::port::{PortError, PortState};
use super::two_level::{self, Raised};
use crate::mm;
use crate::sync::{Once, SpinLock};

/// Ports are allocated in chunks of this many.
const CHUNK: u32 = 128;
const CHUNKS: usize = (two_level::PORTS / CHUNK) as usize;
const WORDS: usize = (two_level::PORTS / 64) as usize;

/// One end of channels: a domain, or a test's model of one.
pub trait Endpoint: Clone {
    /// The domain's number.
    fn id(&self) -> DomId;
    /// Its ports.
    fn ports(&self) -> &Ports<Self>;
    /// Sets the bits that make `port` pending for `vcpu`.
    fn raise(&self, port: Port, vcpu: VcpuId) -> Raised;
    /// Tells the vCPU and the pollers, once no lock is held.
    fn notify(&self, port: Port, vcpu: VcpuId, raised: Raised);
    /// Clears the pending bit of a port that was closed.
    fn forget(&self, port: Port);
}

/// What a port is bound to, and the hold on its peer.
pub(super) struct Binding<P> {
    pub(super) state: PortState,
    pub(super) peer: Option<P>,
}

impl<P> Binding<P> {
    pub(super) const fn free() -> Self {
        Self {
            state: PortState::Free,
            peer: None,
        }
    }
}

/// One port.
pub(super) struct Slot<P> {
    pub(super) binding: SpinLock<Binding<P>>,
    vcpu: AtomicU32,
}

impl<P> Slot<P> {
    fn new() -> Self {
        Self {
            binding: SpinLock::new(Binding::free()),
            vcpu: AtomicU32::new(0),
        }
    }

    /// The vCPU that is notified.
    pub(super) fn vcpu(&self) -> VcpuId {
        VcpuId::new(self.vcpu.load(Ordering::Relaxed))
    }

    /// Notifies another vCPU from now on.
    pub(super) fn set_vcpu(&self, vcpu: VcpuId) {
        self.vcpu.store(vcpu.get(), Ordering::Relaxed);
    }
}

/// What the control lock guards.
#[derive(Debug)]
pub(super) struct Control {
    used: [u64; WORDS],
    open: u32,
    dying: bool,
}

impl Control {
    /// The lowest port of `1..=limit` that is not in use.
    fn lowest_free(&self, limit: u32) -> Option<Port> {
        let (index, word) = (0u32..)
            .zip(&self.used)
            .find(|(_, word)| **word != u64::MAX)?;
        let port = index * 64 + word.trailing_ones();
        (port <= limit).then(|| Port::new(port))
    }

    /// The lowest port that is in use.
    fn lowest_used(&self) -> Option<Port> {
        (0u32..).zip(&self.used).find_map(|(index, word)| {
            // Port 0 is marked as used for good.
            let word = if index == 0 { word & !1 } else { *word };
            (word != 0).then(|| Port::new(index * 64 + word.trailing_zeros()))
        })
    }

    fn take(&mut self, port: Port) {
        if let Some(word) = self.used.get_mut(two_level::word(port) as usize) {
            *word |= two_level::bit(port);
            self.open += 1;
        }
    }

    /// Makes a closed port available again.
    pub(super) fn release(&mut self, port: Port) {
        if let Some(word) = self.used.get_mut(two_level::word(port) as usize) {
            *word &= !two_level::bit(port);
            self.open -= 1;
        }
    }
}

/// All ports of one domain.
pub struct Ports<P> {
    pub(super) control: SpinLock<Control>,
    chunks: [Once<Box<[Slot<P>]>>; CHUNKS],
    limit: u32,
}

impl<P> fmt::Debug for Ports<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the ports themselves: channels lead from domain to domain and back.
        write!(f, "Ports({} open)", self.open_count())
    }
}

/// How far a piece of bounded work came.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it.
    Done,
    /// The budget ran out: call again.
    More,
}

impl<P> Ports<P> {
    /// No port open; ports up to `max_port` may be.
    pub fn new(max_port: u32) -> Self {
        let mut used = [0; WORDS];
        // Port 0 means "none" in the ABI and is never given out.
        used[0] = 1;
        Self {
            control: SpinLock::new(Control {
                used,
                open: 0,
                dying: false,
            }),
            chunks: [const { Once::new() }; CHUNKS],
            limit: max_port.min(two_level::PORTS - 1),
        }
    }

    /// How many ports are open.
    pub fn open_count(&self) -> u32 {
        self.control.lock().open
    }

    /// The port's slot, if it was ever opened.
    pub(super) fn slot(&self, port: Port) -> Result<&Slot<P>, PortError> {
        self.chunks
            .get((port.get() / CHUNK) as usize)
            .and_then(Once::get)
            .and_then(|chunk| chunk.get((port.get() % CHUNK) as usize))
            .ok_or(PortError::NotOpen)
    }

    /// The port's state and the vCPU it notifies. A port that was never opened is free.
    ///
    /// # Errors
    /// [`PortError::NotOpen`] for port 0 and ports beyond the ABI's.
    pub fn status(&self, port: Port) -> Result<(PortState, VcpuId), PortError> {
        if port.get() == 0 || port.get() > self.limit {
            return Err(PortError::NotOpen);
        }
        Ok(match self.slot(port) {
            Ok(slot) => (slot.binding.lock().state, slot.vcpu()),
            Err(_) => (PortState::Free, VcpuId::new(0)),
        })
    }

    /// Opens the lowest free port in `state`, notified on `vcpu`.
    ///
    /// # Errors
    /// [`PortError::NoSpace`], [`PortError::NoMemory`], or [`PortError::Dying`].
    pub fn open(&self, state: PortState, vcpu: VcpuId) -> Result<Port, PortError> {
        self.open_locked(&mut self.control.lock(), state, None, vcpu)
    }

    pub(super) fn open_locked(
        &self,
        control: &mut Control,
        state: PortState,
        peer: Option<P>,
        vcpu: VcpuId,
    ) -> Result<Port, PortError> {
        if control.dying {
            return Err(PortError::Dying);
        }
        let port = control.lowest_free(self.limit).ok_or(PortError::NoSpace)?;
        let slot = self.slot_or_new(port)?;
        slot.set_vcpu(vcpu);
        *slot.binding.lock() = Binding { state, peer };
        control.take(port);
        Ok(port)
    }

    fn slot_or_new(&self, port: Port) -> Result<&Slot<P>, PortError> {
        let chunk = self
            .chunks
            .get((port.get() / CHUNK) as usize)
            .ok_or(PortError::NoSpace)?;
        chunk.try_call_once(|| {
            if mm::is_short() {
                return Err(PortError::NoMemory);
            }
            let mut slots = Vec::new();
            slots
                .try_reserve_exact(CHUNK as usize)
                .map_err(|_| PortError::NoMemory)?;
            slots.extend((0..CHUNK).map(|_| Slot::new()));
            Ok(slots.into_boxed_slice())
        })?;
        self.slot(port)
    }

    /// Refuses every further opening: the domain is being taken apart.
    pub(super) fn start_dying(&self) {
        self.control.lock().dying = true;
    }

    /// The lowest open port.
    pub(super) fn lowest_open(&self) -> Option<Port> {
        self.control.lock().lowest_used()
    }

    /// Runs `action` with the control locks of `self` and `other` held, taken in the order of
    /// their addresses.
    pub(super) fn with_both<R>(
        &self,
        other: &Self,
        action: impl FnOnce(&mut Control, Option<&mut Control>) -> R,
    ) -> R {
        let (mine, theirs) = (core::ptr::from_ref(self), core::ptr::from_ref(other));
        if mine == theirs {
            action(&mut self.control.lock(), None)
        } else if mine < theirs {
            let mut first = self.control.lock();
            let mut second = other.control.lock();
            action(&mut first, Some(&mut second))
        } else {
            let mut second = other.control.lock();
            let mut first = self.control.lock();
            action(&mut first, Some(&mut second))
        }
    }

    pub(super) fn is_dying(control: &Control) -> bool {
        control.dying
    }
}
