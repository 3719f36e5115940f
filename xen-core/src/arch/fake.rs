//! The machine's names over plain memory, for tests on a host.
//!
//! Only what shared code names; a test that needs more of a machine brings its own model.

pub use percpu::this_cpu;

/// Copies between the core and a guest.
pub mod guest_memory {
    pub use crate::arch::fault::Fault;
    use guest_abi::frame::GuestVirtAddr;

    /// There is no guest.
    ///
    /// # Errors
    /// Always.
    pub fn copy_from_guest(_from: GuestVirtAddr, _into: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    /// There is no guest.
    ///
    /// # Errors
    /// Always.
    pub fn copy_to_guest(_to: GuestVirtAddr, _from: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }
}

/// The host's power switch.
pub mod power {
    use guest_abi::sched::ShutdownReason;

    /// A test has no machine to switch off.
    pub fn host_shutdown(_reason: ShutdownReason) {}

    /// There are no others.
    pub fn stop_others() {}

    /// Ends the test.
    pub fn halt() -> ! {
        panic!("the core halted")
    }
}

/// CPUs.
pub mod percpu {
    use crate::cpu::{CpuId, CpuMask};

    /// Tests run on the boot CPU.
    pub fn this_cpu() -> CpuId {
        CpuId::BOOT
    }

    /// Just the boot CPU.
    pub fn online() -> CpuMask {
        CpuMask::only(CpuId::BOOT)
    }
}

/// Interrupts between CPUs.
pub mod apic {
    use crate::cpu::CpuId;

    /// There is no other CPU.
    pub fn kick(_cpu: CpuId) {}
}

/// The timer.
pub mod timer {
    /// Time stands still.
    pub fn arm(_deadline_ns: Option<u64>) {}
}

/// The time.
pub mod clock {
    use crate::time::scale::TimeScale;

    /// Time stands still.
    pub fn now() -> u64 {
        0
    }

    /// A counter of nanoseconds.
    pub fn scale() -> TimeScale {
        TimeScale::new(1_000_000_000, 0)
    }

    /// The counter's frequency.
    pub fn tsc_hz() -> u64 {
        1_000_000_000
    }

    /// 1970.
    pub fn wall_clock_base() -> u64 {
        0
    }
}

/// What a vCPU is switched with.
pub mod context {
    use crate::domain::VcpuRef;

    /// A test's vCPUs have no registers.
    pub fn switch(_prev: Option<&VcpuRef>, _next: Option<&VcpuRef>) {}
}

/// The serial port.
pub mod serial {
    /// Nobody listens.
    pub fn write(_bytes: &[u8]) {}

    /// Nobody types.
    pub fn read(_into: &mut [u8]) -> usize {
        0
    }
}

/// The core's image.
pub mod image {
    /// There is none.
    pub fn start() -> u64 {
        0
    }

    /// There is none.
    pub fn symbols() -> Option<&'static [u8]> {
        None
    }
}

/// Following frame pointers.
pub mod backtrace {
    /// None is known.
    pub fn frame() -> u64 {
        0
    }

    /// Nobody called.
    pub fn callers(_frame: u64) -> impl Iterator<Item = u64> {
        core::iter::empty()
    }
}

/// Nothing interrupts a test.
pub fn wait_for_interrupt() {}

/// Serves other CPUs' requests: there are none.
pub fn poll() {}
/// The bytes of a frame: memory of the test's own, zeroed at first use and never freed.
pub(super) fn frame_address(mfn: guest_abi::frame::Mfn) -> *mut u8 {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError, atomic::AtomicU64};
    static FRAMES: Mutex<BTreeMap<u64, &'static [AtomicU64; 512]>> = Mutex::new(BTreeMap::new());
    let mut frames = FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let frame = frames
        .entry(mfn.get())
        .or_insert_with(|| Box::leak(Box::new([const { AtomicU64::new(0) }; 512])));
    frame.as_ptr().cast_mut().cast()
}
