//! `physdev_op`: ports, devices and their interrupts.

use crate::frame::{GuestVirtAddr, Pfn};
use crate::ids::DomIdArg;

wire_enum! {
    /// `physdev_op` commands.
    pub enum PhysdevOp: u32 {
        IrqStatusQuery = 5,
        SetIopl = 6,
        SetIobitmap = 7,
        ApicRead = 8,
        ApicWrite = 9,
        AllocIrqVector = 10,
        FreeIrqVector = 11,
        Eoi = 12,
        MapPirq = 13,
        UnmapPirq = 14,
        ManagePciAdd = 15,
        ManagePciRemove = 16,
        PirqEoiGmfnV1 = 17,
        RestoreMsi = 19,
        ManagePciAddExt = 20,
        SetupGsi = 21,
        GetFreePirq = 23,
        PciMmcfgReserved = 24,
        PciDeviceAdd = 25,
        PciDeviceRemove = 26,
        RestoreMsiExt = 27,
        PirqEoiGmfnV2 = 28,
        DbgpOp = 29,
        PrepareMsix = 30,
        ReleaseMsix = 31,
    }
}

wire_enum! {
    /// `kind` of [`MapPirq`].
    pub enum MapPirqType: i32 {
        Msi = 0,
        Gsi = 1,
        Unknown = 2,
        MsiSeg = 3,
        MultiMsi = 4,
    }
}

bitflags::bitflags! {
    /// `flags` of [`IrqStatusQuery`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct IrqStatusFlags: u32 {
        /// The interrupt needs an end-of-interrupt call.
        const NEEDS_EOI = 1 << 0;
        /// Others use the line too.
        const SHARED = 1 << 1;
    }

    /// `flags` of [`PciDeviceAdd`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PciDevFlags: u32 {
        /// An extended function.
        const EXTFN = 1 << 0;
        /// A virtual function.
        const VIRTFN = 1 << 1;
        /// The proximity domain follows.
        const PXM = 1 << 2;
    }
}

/// Flag of [`PciMmcfgReserved`].
pub const PCI_MMCFG_RESERVED: u32 = 1;

abi! {
    /// `PHYSDEVOP_eoi`.
    pub struct Eoi: 4 {
        0 => irq: u32,
    }

    /// `PHYSDEVOP_pirq_eoi_gmfn_v2`.
    pub struct PirqEoiGmfn: 8 {
        0 => gmfn: Pfn,
    }

    /// `PHYSDEVOP_irq_status_query`.
    pub struct IrqStatusQuery: 8 {
        0 => irq: u32,
        /// Out: [`IrqStatusFlags`].
        4 => flags: u32,
    }

    /// `PHYSDEVOP_set_iopl`.
    pub struct SetIopl: 4 {
        0 => iopl: u32,
    }

    /// `PHYSDEVOP_set_iobitmap`.
    pub struct SetIobitmap: 16 {
        0 => bitmap: GuestVirtAddr,
        8 => nr_ports: u32,
        #[doc(hidden)]
        12 => _pad0: u32,
    }

    /// `PHYSDEVOP_apic_read` and `_write`.
    pub struct Apic: 16 {
        0 => apic_physbase: u64,
        8 => reg: u32,
        12 => value: u32,
    }

    /// `PHYSDEVOP_map_pirq`: makes a device's interrupt bindable.
    pub struct MapPirq: 40 {
        0 => domid: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        /// [`MapPirqType`].
        4 => kind: i32,
        /// The interrupt line, or -1.
        8 => index: i32,
        /// In: the one wanted, or -1. Out: the one it is.
        12 => pirq: i32,
        /// Bus, and the segment above bit 16.
        16 => bus: i32,
        20 => devfn: i32,
        24 => entry_nr: i32,
        #[doc(hidden)]
        28 => _pad1: u32,
        /// Machine address of the MSI-X table; 0 for MSI.
        32 => table_base: u64,
    }

    /// `PHYSDEVOP_unmap_pirq`.
    pub struct UnmapPirq: 8 {
        0 => domid: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => pirq: i32,
    }

    /// `PHYSDEVOP_setup_gsi`.
    pub struct SetupGsi: 8 {
        0 => gsi: i32,
        /// 0 edge, 1 level.
        4 => triggering: u8,
        /// 0 high, 1 low.
        5 => polarity: u8,
        #[doc(hidden)]
        6 => _pad0: u16,
    }

    /// `PHYSDEVOP_get_free_pirq`.
    pub struct GetFreePirq: 8 {
        /// [`MapPirqType`].
        0 => kind: i32,
        /// Out.
        4 => pirq: u32,
    }

    /// `PHYSDEVOP_pci_mmcfg_reserved`.
    pub struct PciMmcfgReserved: 16 {
        0 => address: u64,
        8 => segment: u16,
        10 => start_bus: u8,
        11 => end_bus: u8,
        12 => flags: u32,
    }

    /// `PHYSDEVOP_pci_device_add`, without the optional words after it.
    pub struct PciDeviceAdd: 12 {
        0 => seg: u16,
        2 => bus: u8,
        3 => devfn: u8,
        /// [`PciDevFlags`].
        4 => flags: u32,
        8 => physfn_bus: u8,
        9 => physfn_devfn: u8,
        #[doc(hidden)]
        10 => _pad0: u16,
    }

    /// `PHYSDEVOP_pci_device_remove`, `_prepare_msix`, `_release_msix`: just the device.
    pub struct PciDevice: 4 {
        0 => seg: u16,
        2 => bus: u8,
        3 => devfn: u8,
    }
}
