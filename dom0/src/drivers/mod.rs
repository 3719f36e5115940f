//! Drivers of the host's real devices.

pub mod acpi;
pub mod chains;
pub mod dma;
pub mod doorbell;
pub mod interrupt;
pub mod pci;
pub mod ring;
pub mod virtio;
pub mod virtio_blk;
pub mod virtio_console;
pub mod virtio_net;
