//! The kernel.

mod user;

use core::sync::atomic::{AtomicU32, Ordering};

use frontends::{
    events,
    guest_abi::{Errno, Port, VcpuId, sched::ShutdownReason},
    println, sched, smp,
    start::StartOfDay,
};

/// Times the two virtual CPUs wake each other.
const ROUNDS: u32 = 100;

const BOOT: VcpuId = VcpuId::new(0);
const SECOND: VcpuId = VcpuId::new(1);

/// Ports by which each virtual CPU is woken.
static TO_BOOT: AtomicU32 = AtomicU32::new(0);
static TO_SECOND: AtomicU32 = AtomicU32::new(0);
/// How often the second one has been woken.
static ANSWERS: AtomicU32 = AtomicU32::new(0);

/// Runs both tests and tells the verdict.
pub(crate) fn main(_start: &'static StartOfDay) -> ! {
    match ping_pong().and_then(|()| user::round_trips()) {
        Ok(()) => println!("verdict: ok"),
        Err(what) => println!("verdict: failed: {what}"),
    }
    sched::shutdown(ShutdownReason::Poweroff)
}

/// Waits until `port` has fired for `vcpu`.
fn wait_for(vcpu: VcpuId, port: &AtomicU32) {
    let port = Port::new(port.load(Ordering::Acquire));
    let mut fired = false;
    loop {
        events::take(vcpu, |found| fired |= found == port);
        if fired {
            return;
        }
        events::wait(vcpu);
    }
}

/// Wakes whoever waits for `port`.
fn wake(port: &AtomicU32) -> Result<(), Errno> {
    events::send(Port::new(port.load(Ordering::Acquire)))
}

/// Starts the second virtual CPU, then passes the turn to it and back.
fn ping_pong() -> Result<(), &'static str> {
    for (vcpu, port) in [(BOOT, &TO_BOOT), (SECOND, &TO_SECOND)] {
        let bound = events::bind_ipi(vcpu).map_err(|_| "bind_ipi")?;
        port.store(bound.get(), Ordering::Release);
    }
    smp::start(SECOND, second).map_err(|_| "vcpu_op")?;
    for _ in 0..ROUNDS {
        wake(&TO_SECOND).map_err(|_| "send")?;
        wait_for(BOOT, &TO_BOOT);
    }
    match ANSWERS.load(Ordering::Acquire) {
        ROUNDS => Ok(()),
        _ => Err("a wake-up was lost or doubled"),
    }
}

/// The second virtual CPU: answers for ever.
fn second(vcpu: VcpuId) -> ! {
    loop {
        wait_for(vcpu, &TO_SECOND);
        ANSWERS.fetch_add(1, Ordering::AcqRel);
        if wake(&TO_BOOT).is_err() {
            panic!("the second vCPU cannot wake the first");
        }
    }
}
