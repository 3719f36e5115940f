//! Interrupt hardware that nobody has: every binding succeeds, nothing ever fires.

/// The I/O interrupt controllers.
pub mod ioapic {
    /// How a pin is wired.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Wiring {
        /// Whether it is active low.
        pub active_low: bool,
        /// Whether it is level-triggered.
        pub level: bool,
    }

    /// As many as one controller has.
    pub fn gsi_count() -> u32 {
        24
    }

    /// No overrides.
    pub fn isa_wiring(irq: u8) -> (u32, Wiring) {
        (
            u32::from(irq),
            Wiring {
                active_low: false,
                level: false,
            },
        )
    }
}

/// Vectors.
pub mod irq {
    use super::ioapic::Wiring;
    use crate::cpu::CpuId;

    /// An interrupt that is bound to a vector.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Bound {
        /// Its vector.
        pub vector: u8,
        /// The CPU that it interrupts.
        pub cpu: CpuId,
    }

    /// Always the same vector.
    pub fn bind_gsi(_pirq: u32, _gsi: u32, _wiring: Wiring, cpu: CpuId) -> Option<Bound> {
        Some(Bound { vector: 0x30, cpu })
    }

    /// Always the same vector.
    pub fn bind_msi(_pirq: u32, cpu: CpuId) -> Option<Bound> {
        Some(Bound { vector: 0x30, cpu })
    }

    /// Nothing was bound.
    pub fn unbind(_bound: Bound) {}

    /// Nothing is masked.
    pub fn unmask(_bound: Bound) {}
}

/// Message-signalled interrupts.
pub mod msi {
    use super::irq::Bound;

    /// What a device would write.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Message;

    impl Message {
        /// The message that raises a bound vector.
        pub fn new(_bound: Bound) -> Self {
            Self
        }
    }

    /// There is no table.
    pub fn write_entry(_table: u64, _index: u16, _message: Message, _masked: bool) -> bool {
        true
    }

    /// There is no table.
    pub fn mask_entry(_table: u64, _index: u16, _masked: bool) -> bool {
        true
    }
}
