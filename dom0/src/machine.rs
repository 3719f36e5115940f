//! The machine below the executor: vCPU 0, its events and its timer.

use core::cell::Cell;

use frontends::{events, time};
use guest_abi::{Errno, Port, VcpuId, Virq};

use crate::executor::{Instant, Platform};

/// dom0 runs on one virtual CPU.
const VCPU: VcpuId = VcpuId::new(0);

/// The real platform.
#[derive(Debug)]
pub struct Machine {
    /// The deadline the timer is set to, until it has passed.
    armed: Cell<Option<Instant>>,
}

impl Machine {
    /// Takes the timer of vCPU 0.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn new() -> Result<Self, Errno> {
        events::bind_virq(Virq::Timer, VCPU)?;
        Ok(Self {
            armed: Cell::new(None),
        })
    }

    /// Sets the timer, unless it is set to that time already.
    fn arm(&self, deadline: Instant) {
        let armed = self.armed.get().filter(|&armed| armed > self.now());
        if armed == Some(deadline) {
            return;
        }
        match time::set_timer(VCPU, deadline.as_nanos()) {
            Ok(()) => self.armed.set(Some(deadline)),
            Err(errno) => log::error!("timer refused: {}", errno.name()),
        }
    }
}

impl Platform for Machine {
    fn now(&self) -> Instant {
        Instant::from_nanos(time::now(VCPU))
    }

    fn take_events(&self, found: &mut dyn FnMut(Port)) {
        events::take(VCPU, found);
    }

    fn wait(&self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            if deadline <= self.now() {
                return;
            }
            self.arm(deadline);
        }
        // A timer left over from a task that is gone only wakes once too often.
        events::wait(VCPU);
    }
}
