//! `vm_assist`: help a guest may ask for.

wire_enum! {
    /// `vm_assist` commands.
    pub enum AssistCommand: u32 {
        Enable = 0,
        Disable = 1,
    }
}

wire_enum! {
    /// Which help. Each is also a bit of a domain's set of assists.
    pub enum AssistType: u32 {
        FourGbSegments = 0,
        FourGbSegmentsNotify = 1,
        /// Writes to L1 tables are emulated instead of refused.
        WritablePagetables = 2,
        PaeExtendedCr3 = 3,
        ArchitecturalIopl = 4,
        /// [`crate::vcpu::RUNSTATE_UPDATE`] is used.
        RunstateUpdateFlag = 5,
        /// User mode does not see the machine-to-phys table.
        M2pStrict = 32,
    }
}

impl AssistType {
    /// The assist as a bit of the domain's set.
    pub const fn bit(self) -> u64 {
        1 << self.number()
    }
}
