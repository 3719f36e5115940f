//! Drivers of the host's real devices.

pub mod acpi;
pub mod pci;
pub mod virtio_console;
