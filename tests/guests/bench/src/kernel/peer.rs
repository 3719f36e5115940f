//! Waking another vCPU that sleeps, and being woken by it: on a host with one CPU, two events and
//! two switches.

use core::sync::atomic::{AtomicU32, Ordering};

use frontends::guest_abi::{Errno, Port, VcpuId};
use frontends::{events, smp};

use super::{BOOT, Figures};

const SECOND: VcpuId = VcpuId::new(1);

/// The ports by which either is woken.
static TO_BOOT: AtomicU32 = AtomicU32::new(0);
static TO_SECOND: AtomicU32 = AtomicU32::new(0);

/// Measures it, in a domain that has a second vCPU.
pub(super) fn wake_and_back(figures: &mut Figures) -> Result<(), Errno> {
    for (vcpu, port) in [(BOOT, &TO_BOOT), (SECOND, &TO_SECOND)] {
        match events::bind_ipi(vcpu) {
            Ok(bound) => port.store(bound.get(), Ordering::Release),
            Err(_) if vcpu == SECOND => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    smp::start(SECOND, answer)?;
    figures.add("wake a sleeping vCPU, and be woken by it", || {
        wake(&TO_SECOND)?;
        wait(BOOT);
        Ok(())
    })
}

fn answer(vcpu: VcpuId) -> ! {
    loop {
        wait(vcpu);
        // A wake-up that fails leaves the first vCPU asleep, which whoever waits for it will see.
        let _ = wake(&TO_BOOT);
    }
}

fn wake(port: &AtomicU32) -> Result<(), Errno> {
    events::send(Port::new(port.load(Ordering::Acquire)))
}

fn wait(vcpu: VcpuId) {
    let mut woken = false;
    while !woken {
        events::take(vcpu, |_| woken = true);
        if !woken {
            events::wait(vcpu);
        }
    }
}
