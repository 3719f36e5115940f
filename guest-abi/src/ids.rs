//! Who is who: domains, vCPUs, event-channel ports, grant references and virtual interrupts.
//!
//! A number on the wire and a resolved one differ in type where the ABI allows an alias: a
//! [`DomIdArg`] may say "myself", a [`DomId`] never does.

newtype! {
    /// A domain, by its number.
    pub struct DomId(u16), "{}"
}

impl DomId {
    /// The first domain, which runs the toolstack and the device backends.
    pub const DOM0: Self = Self(0);
    /// Domain numbers from here on name no ordinary domain.
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
    /// The pseudo-domain that owns device memory.
    pub const IO: Self = Self(0x7ff1);
    /// The pseudo-domain that owns the hypervisor's shared pages.
    pub const XEN: Self = Self(0x7ff2);
    /// The pseudo-domain that owns pages shared copy-on-write.
    pub const COW: Self = Self(0x7ff3);
    /// Names no domain at all.
    pub const INVALID: Self = Self(0x7ff4);
    /// The pseudo-domain of idle CPUs.
    pub const IDLE: Self = Self(0x7fff);

    /// Whether this can be the number of an ordinary domain.
    pub const fn is_ordinary(self) -> bool {
        self.0 < Self::FIRST_RESERVED.0
    }
}

newtype! {
    /// A domain as a hypercall names it: a number, or "the caller".
    pub struct DomIdArg(u16), "{}"
}

impl DomIdArg {
    /// The calling domain.
    pub const SELF: Self = Self(0x7ff0);

    /// The domain meant when `caller` says this.
    pub const fn resolve(self, caller: DomId) -> DomId {
        if self.0 == Self::SELF.0 {
            caller
        } else {
            DomId(self.0)
        }
    }
}

impl From<DomId> for DomIdArg {
    fn from(domain: DomId) -> Self {
        Self(domain.0)
    }
}

newtype! {
    /// An event channel's local end, within one domain. Port 0 is never valid.
    pub struct Port(u32), "{}"
}

newtype! {
    /// An entry of a domain's grant table.
    pub struct GrantRef(u32), "{}"
}

impl GrantRef {
    /// The entry the builder fills with the console ring.
    pub const CONSOLE: Self = Self(0);
    /// The entry the builder fills with the xenstore ring.
    pub const XENSTORE: Self = Self(1);
    /// How many entries are reserved for the tools that build a domain.
    pub const NR_RESERVED: u32 = 8;
}

newtype! {
    /// A mapping of a foreign grant, as its mapper names it when it unmaps.
    pub struct GrantHandle(u32), "{}"
}

newtype! {
    /// A virtual CPU, within one domain.
    pub struct VcpuId(u32), "{}"
}

wire_enum! {
    /// An interrupt the hypervisor itself raises.
    pub enum Virq: u32 {
        /// A vCPU's timer fired.
        Timer = 0,
        /// Somebody asked the guest for its state.
        Debug = 1,
        /// Input arrived on the emergency console.
        Console = 2,
        /// A domain was shut down, crashed or destroyed.
        DomExc = 3,
        /// The trace buffer fills up.
        Tbuf = 4,
        /// A debugged domain stopped.
        Debugger = 6,
        /// The profiler has samples.
        Xenoprof = 7,
        /// The hypervisor's log has new text.
        ConRing = 8,
        /// A physical CPU went on or off line.
        PcpuState = 9,
        /// A memory event awaits an answer.
        MemEvent = 10,
        /// Argo has a message.
        Argo = 11,
        /// The free heap runs low.
        Enomem = 12,
        /// The guest's performance counters overflowed.
        Xenpmu = 13,
        /// Architecture specific: machine checks.
        Arch0 = 16,
        /// Architecture specific.
        Arch1 = 17,
        /// Architecture specific.
        Arch2 = 18,
        /// Architecture specific.
        Arch3 = 19,
        /// Architecture specific.
        Arch4 = 20,
        /// Architecture specific.
        Arch5 = 21,
        /// Architecture specific.
        Arch6 = 22,
        /// Architecture specific.
        Arch7 = 23,
    }
}

/// One more than the largest number of a virtual interrupt.
pub const NR_VIRQS: u32 = 24;

impl Virq {
    /// Whether each vCPU has its own; the others exist once a domain.
    pub const fn is_per_vcpu(self) -> bool {
        matches!(
            self,
            Self::Timer | Self::Debug | Self::Xenoprof | Self::Xenpmu
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_resolves_to_the_caller_and_numbers_to_themselves() {
        let caller = DomId::new(7);
        assert_eq!(DomIdArg::SELF.resolve(caller), caller);
        assert_eq!(DomIdArg::new(3).resolve(caller), DomId::new(3));
    }

    #[test]
    fn every_virq_comes_back_from_its_number() {
        for &virq in Virq::ALL {
            assert_eq!(Virq::from_number(virq.number()), Some(virq));
            assert!(virq.number() < NR_VIRQS);
        }
        assert_eq!(Virq::from_number(5), None);
    }
}
