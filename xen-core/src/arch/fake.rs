//! The machine's names over plain memory, for tests on a host.
/// Copies between the core and a guest.
pub mod guest_memory {
    use guest_abi::{errno::Errno, frame::GuestVirtAddr};
    /// The guest could not have done this access itself.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Fault;
    impl From<Fault> for Errno {
        fn from(_: Fault) -> Self {
            Self::EFAULT
        }
    }
    /// Copies in.
    pub fn copy_from_guest(_from: GuestVirtAddr, _into: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }
    /// Copies out.
    pub fn copy_to_guest(_to: GuestVirtAddr, _from: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }
}
/// The host's power switch.
pub mod power {
    use guest_abi::sched::ShutdownReason;
    /// Ends or reboots the host, for the reason that dom0 gave.
    pub fn host_shutdown(_reason: ShutdownReason) {}
}
/// Serves other CPUs' requests.
pub fn poll() {}
