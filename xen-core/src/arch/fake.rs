//! The machine's names over plain memory, for tests on a host.
//!
//! Only what shared code names; a test that needs more of a machine brings its own model.

mod interrupts;

pub use interrupts::{ioapic, irq, msi};
pub use percpu::this_cpu;

/// Copies between the core and a guest.
pub mod guest_memory {
    pub use crate::arch::fault::Fault;
    use core::mem::MaybeUninit;
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
    pub fn copy_values_from_guest<T>(
        _from: GuestVirtAddr,
        _room: &mut [MaybeUninit<T>],
    ) -> Result<&[T], Fault> {
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
    use crate::trap::VcpuContext;

    /// No CPU holds anything of it.
    pub fn drop_lazy(_domain: &crate::domain::Domain) {}

    /// A test's vCPUs have no registers.
    pub fn switch(_prev: Option<&VcpuRef>, _next: Option<&VcpuRef>) {}

    /// No CPU looks at it.
    pub fn show_gdt(_context: &VcpuContext) {}

    /// No CPU looks at it.
    pub fn show_ldt(_context: &VcpuContext) {}

    /// No vCPU is ever loaded.
    pub fn loaded_for_report() -> Option<crate::domain::VcpuRef> {
        None
    }
}

#[path = "fake_machine.rs"]
pub mod machine;

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
/// The bytes of a frame.
pub(super) fn frame_address(mfn: guest_abi::frame::Mfn) -> *mut u8 {
    direct_map::entries(mfn).as_ptr().cast_mut().cast()
}

/// Memory: frames come into being, zeroed, when they are first touched, and stay.
pub mod direct_map {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use core::sync::atomic::{AtomicU64, Ordering};
    use guest_abi::frame::{MachAddr, Mfn};

    static FRAMES: Mutex<BTreeMap<u64, &'static [AtomicU64; 512]>> = Mutex::new(BTreeMap::new());

    /// The words of a frame.
    pub fn entries(mfn: Mfn) -> &'static [AtomicU64; 512] {
        let mut frames = FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
        frames
            .entry(mfn.get())
            .or_insert_with(|| Box::leak(Box::new([const { AtomicU64::new(0) }; 512])))
    }

    /// Fills the frame with zeros.
    pub fn zero_frame(mfn: Mfn) {
        for word in entries(mfn) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Copies `len` bytes.
    pub fn copy(from: MachAddr, to: MachAddr, len: usize) {
        let page = |at: MachAddr| crate::arch::shared_page::SharedPage::new(at.frame());
        for offset in 0..len as u64 {
            let (from, to) = (
                MachAddr::new(from.get() + offset),
                MachAddr::new(to.get() + offset),
            );
            let byte = page(from)
                .atomic_u8(from.page_offset())
                .load(Ordering::Relaxed);
            page(to)
                .atomic_u8(to.page_offset())
                .store(byte, Ordering::Relaxed);
        }
    }

    /// Copies a whole frame.
    pub fn copy_frame(from: Mfn, to: Mfn) {
        for (from, to) in entries(from).iter().zip(entries(to)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// The machine-to-phys table: nobody reads it.
pub mod m2p {
    use guest_abi::frame::{Mfn, Pfn};

    /// Forgotten at once.
    pub fn set(_mfn: Mfn, _pfn: Pfn) {}

    /// There is no table.
    pub fn own_frames() -> (Mfn, u64) {
        (Mfn::new(0), 0)
    }
}

/// The core's page tables.
pub mod paging {
    /// Nothing is mapped.
    pub fn core_slots() -> [u64; 16] {
        [0; 16]
    }
}

/// TLBs: there are none, so nothing in them is stale.
pub mod tlb {
    use crate::cpu::CpuMask;
    use guest_abi::frame::{GuestVirtAddr, Mfn};

    /// The clock stands still.
    pub fn now() -> u64 {
        1
    }

    /// No CPU.
    pub fn need_flush(_cpus: CpuMask, _since: u64) -> CpuMask {
        CpuMask::EMPTY
    }

    /// Nothing to flush.
    pub fn flush_mask(_cpus: CpuMask) {}

    /// Nothing to flush.
    pub fn flush_local() {}

    /// Nothing to flush.
    pub fn invlpg_local(_page: GuestVirtAddr) {}

    /// Nobody walks the tables.
    pub fn load_root(_root: Mfn) {}
}

/// How much memory the core's heap has taken: the host's heap is none of ours.
pub fn heap_bytes() -> usize {
    0
}

/// The files that the loader put into memory.
pub mod modules {
    /// There was no loader, so there is never one of these.
    #[derive(Debug)]
    pub enum ModuleBytes {}

    impl core::ops::Deref for ModuleBytes {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            match *self {}
        }
    }

    /// There was no loader.
    pub fn take(_index: usize) -> Option<ModuleBytes> {
        None
    }
}
