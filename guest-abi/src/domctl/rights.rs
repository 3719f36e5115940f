//! What of the machine a domain may reach.

use crate::frame::Mfn;

abi! {
    /// `irq_permission`.
    pub struct IrqPermission: 8 {
        0 => pirq: u32,
        4 => allow_access: u8,
        #[doc(hidden)]
        5 => _pad0: [u8; 3],
    }

    /// `iomem_permission`.
    pub struct IomemPermission: 24 {
        0 => first_mfn: Mfn,
        8 => nr_mfns: u64,
        16 => allow_access: u8,
        #[doc(hidden)]
        17 => _pad0: [u8; 7],
    }

    /// `ioport_permission`.
    pub struct IoportPermission: 12 {
        0 => first_port: u32,
        4 => nr_ports: u32,
        8 => allow_access: u8,
        #[doc(hidden)]
        9 => _pad0: [u8; 3],
    }
}
