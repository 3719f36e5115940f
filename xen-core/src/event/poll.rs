//! vCPUs that wait for particular ports (`sched_op` poll).
//!
//! 1. The waiter says what it waits for, then counts itself in.
//! 2. It looks at the ports' pending bits; only if none is set does it block.
//! 3. A sender sets the pending bit, then looks for waiters.
//!
//! All four steps are sequentially consistent, so either the waiter sees the bit or the sender
//! sees the waiter.

use core::sync::atomic::{AtomicU32, Ordering};

use guest_abi::ids::Port;

const NONE: u32 = 0;
/// Waiting for more than one port: any may be it.
const ANY: u32 = u32::MAX;

/// What one vCPU waits for.
#[derive(Debug, Default)]
pub struct PollWish(AtomicU32);

/// How many vCPUs of a domain wait.
#[derive(Debug, Default)]
pub struct Pollers(AtomicU32);

impl PollWish {
    /// Begins to wait for `ports`.
    pub fn begin(&self, ports: &[Port], pollers: &Pollers) {
        let wish = match ports {
            [] => return,
            [one] => one.get(),
            _ => ANY,
        };
        if self.0.swap(wish, Ordering::SeqCst) == NONE {
            pollers.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits no longer; says whether it still did.
    pub fn end(&self, pollers: &Pollers) -> bool {
        let waited = self.0.swap(NONE, Ordering::SeqCst) != NONE;
        if waited {
            pollers.0.fetch_sub(1, Ordering::SeqCst);
        }
        waited
    }

    /// Ends the wait if `port` is what it is for; says whether it did.
    pub fn satisfy(&self, port: Port, pollers: &Pollers) -> bool {
        let wish = self.0.load(Ordering::SeqCst);
        (wish == port.get() || wish == ANY) && wish != NONE && self.end(pollers)
    }
}

impl Pollers {
    /// Whether anybody waits.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::{PollWish, Pollers};
    use guest_abi::ids::Port;

    #[test]
    fn a_waiter_is_woken_by_its_own_port_once() {
        let (wish, pollers) = (PollWish::default(), Pollers::default());
        wish.begin(&[Port::new(3)], &pollers);
        assert!(pollers.any());
        assert!(!wish.satisfy(Port::new(4), &pollers));
        assert!(wish.satisfy(Port::new(3), &pollers));
        assert!(!wish.satisfy(Port::new(3), &pollers));
        assert!(!pollers.any());
    }

    #[test]
    fn a_waiter_for_several_ports_looks_itself() {
        let (wish, pollers) = (PollWish::default(), Pollers::default());
        wish.begin(&[Port::new(3), Port::new(9)], &pollers);
        assert!(wish.satisfy(Port::new(100), &pollers));
    }

    #[test]
    fn polling_no_port_waits_for_upcalls_only() {
        let (wish, pollers) = (PollWish::default(), Pollers::default());
        wish.begin(&[], &pollers);
        assert!(!pollers.any());
        assert!(!wish.end(&pollers));
    }
}
