//! A vCPU as the scheduler sees it.
//!
//! Four facts decide whether a vCPU may run: it is up, awake, not paused, and its domain is alive
//! and not paused. Whoever changes one of them calls [`super::wake::settle`], which compares what
//! may be with where the vCPU is, and moves it.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use guest_abi::ids::VcpuId;
use guest_abi::vcpu::Runstate as State;

use super::fair::{Share, Weight};
use super::runqueue::Ticket;
use super::runstate::Runstate;
use super::runstate_area::RunstateArea;
use super::timer::{Alarm, VcpuTimers};
use crate::cpu::{CpuId, CpuMask};
use crate::domain::{Domain, Stage};
use crate::sync::SpinLock;
use crate::time;

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In no queue.
    Off,
    /// In a CPU's queue. Whoever takes the ticket out of the queue and then finds it here, under
    /// the vCPU's lock, has the vCPU.
    Queued(CpuId, Ticket),
    /// On a CPU, or being saved or loaded there.
    Running(CpuId),
}

/// What the vCPU's lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) place: Place,
    pub(super) share: Share,
    /// Up to when its running is charged.
    pub(super) charged_ns: u64,
    /// Whether it gave up its turn.
    pub(super) yielded: bool,
    /// Where it ran last; its timers and its virtual time belong there.
    pub(super) home: CpuId,
    pub(super) affinity: CpuMask,
    pub(super) soft_affinity: CpuMask,
    /// The affinity to go back to after a pin override.
    pub(super) overridden: Option<CpuMask>,
    pub(super) online: bool,
    pub(super) pauses: u32,
    pub(super) runstate: Runstate,
    pub(super) timers: VcpuTimers,
    pub(super) alarm: Option<(CpuId, Alarm)>,
}

/// A vCPU's place in the run queues, its times and timers.
#[derive(Debug)]
pub struct VcpuSched {
    pub(super) inner: SpinLock<Inner>,
    /// Waits for an event. Apart from the lock, so that an event to the wakeful costs one load.
    pub(super) asleep: AtomicBool,
    /// Its sleep is a poll.
    pub(super) polls: AtomicBool,
    /// The CPU it runs on plus one, or 0.
    running_on: AtomicUsize,
    pub(super) area: RunstateArea,
    context: AtomicU8,
}

/// Whether a vCPU has the context to start from.
mod context {
    pub(super) const NONE: u8 = 0;
    pub(super) const BEING_GIVEN: u8 = 1;
    pub(super) const GIVEN: u8 = 2;
}

impl VcpuSched {
    /// A vCPU that is down.
    pub fn new(_id: VcpuId) -> Self {
        Self {
            inner: SpinLock::new(Inner {
                place: Place::Off,
                share: Share::new(Weight::DEFAULT),
                charged_ns: 0,
                yielded: false,
                home: CpuId::BOOT,
                affinity: CpuMask::ALL,
                soft_affinity: CpuMask::ALL,
                overridden: None,
                online: false,
                pauses: 0,
                runstate: Runstate::new(time::now()),
                timers: VcpuTimers::NONE,
                alarm: None,
            }),
            asleep: AtomicBool::new(false),
            polls: AtomicBool::new(false),
            running_on: AtomicUsize::new(0),
            area: RunstateArea::new(),
            context: AtomicU8::new(context::NONE),
        }
    }

    /// The CPU that it runs on right now.
    pub fn running_on(&self) -> Option<CpuId> {
        CpuId::try_new(self.running_on.load(Ordering::SeqCst).checked_sub(1)?)
    }

    pub(super) fn set_running_on(&self, cpu: Option<CpuId>) {
        let number = cpu.map_or(0, |cpu| cpu.index() + 1);
        self.running_on.store(number, Ordering::SeqCst);
    }

    /// Up, and on `cpu`: for tests of what is said about it.
    #[cfg(test)]
    pub(crate) fn pretend_running(&self, cpu: CpuId) {
        self.inner.lock().online = true;
        self.set_running_on(Some(cpu));
    }

    /// Whether it has been given a context to start from, all of it.
    pub fn is_initialised(&self) -> bool {
        self.context.load(Ordering::SeqCst) == context::GIVEN
    }

    /// Begins to give it a context; `false` when it has one, or somebody else is about it.
    pub fn begin_initialise(&self) -> bool {
        self.context
            .compare_exchange(
                context::NONE,
                context::BEING_GIVEN,
                Ordering::SeqCst,
                Ordering::SeqCst,
            )
            .is_ok()
    }

    /// Records that it has a context.
    pub fn set_initialised(&self) {
        self.context.store(context::GIVEN, Ordering::SeqCst);
    }

    /// Nothing came of its context: another may be given.
    pub fn clear_initialised(&self) {
        self.context.store(context::NONE, Ordering::SeqCst);
    }

    /// Whether it is up, running or not.
    pub fn is_up(&self) -> bool {
        self.inner.lock().online
    }

    /// Whether it waits for an event.
    pub fn is_blocked(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// The CPU that it ran on last.
    pub fn last_cpu(&self) -> CpuId {
        self.inner.lock().home
    }

    /// The CPUs that it may run on, and those that it would rather.
    pub fn affinity(&self) -> (CpuMask, CpuMask) {
        let inner = self.inner.lock();
        (inner.affinity, inner.soft_affinity)
    }

    /// Its run state, with the times up to now.
    pub fn runstate(&self) -> Runstate {
        let runstate = self.inner.lock().runstate;
        runstate.change(runstate.state(), time::now())
    }

    /// How long it has been on a CPU.
    pub fn cpu_time_ns(&self) -> u64 {
        self.inner.lock().runstate.running_ns(time::now())
    }

    /// Whether it may run, as far as anybody has said.
    pub(super) fn may_run(&self, inner: &Inner, domain: &Domain) -> bool {
        self.resting_state(inner, domain) == State::Runnable
    }

    /// The run state that it has while it is not on a CPU.
    #[inline]
    pub(super) fn resting_state(&self, inner: &Inner, domain: &Domain) -> State {
        if !inner.online {
            State::Offline
        } else if self.asleep.load(Ordering::SeqCst) {
            State::Blocked
        } else if inner.pauses > 0 || domain.life.is_paused() || domain.life.stage() != Stage::Alive
        {
            State::Offline
        } else {
            State::Runnable
        }
    }
}

impl Inner {
    /// Charges the time since the last charge.
    pub(super) fn charge(&mut self, now: u64) {
        self.share = self.share.charge(now.saturating_sub(self.charged_ns));
        self.charged_ns = now;
    }

    /// Changes the run state, if it is another.
    pub(super) fn enter(&mut self, state: State, now: u64) {
        if self.runstate.state() != state {
            self.runstate = self.runstate.change(state, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::VcpuSched;
    use guest_abi::ids::VcpuId;

    #[test]
    fn a_vcpu_whose_context_is_being_given_cannot_be_brought_up_nor_given_another() {
        let vcpu = VcpuSched::new(VcpuId::new(1));
        assert!(vcpu.begin_initialise());
        assert!(!vcpu.is_initialised());
        assert!(!vcpu.begin_initialise());
        vcpu.clear_initialised();
        assert!(vcpu.begin_initialise());
        vcpu.set_initialised();
        assert!(vcpu.is_initialised());
        assert!(!vcpu.begin_initialise());
    }
}
