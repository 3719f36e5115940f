//! Finds the host's disks and network cards, and starts their drivers.

use alloc::rc::Rc;
use core::fmt;

use backends::host::{Disk, Nic, SECTOR_SIZE};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::DeviceFunction;

use super::Devices;
use crate::drivers::pci::Bus;
use crate::drivers::virtio_blk::VirtioBlk;
use crate::drivers::virtio_net::VirtioNet;
use crate::executor::Runtime;

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

impl Devices {
    /// Starts every disk and card on the bus, and says so. One that cannot be used is left out.
    pub fn start(runtime: &Runtime, bus: &mut Bus) -> Self {
        let mut devices = Self::default();
        for function in bus.virtio(DeviceType::Block) {
            match VirtioBlk::start(runtime, bus, function) {
                Ok(disk) => devices.tell_of_disk(Rc::new(disk)),
                Err(reason) => left_out("disk", function, &reason),
            }
        }
        for function in bus.virtio(DeviceType::Network) {
            match VirtioNet::start(runtime, bus, function) {
                Ok(nic) => {
                    let link = nic.has_link();
                    devices.tell_of_nic(Rc::new(nic), link);
                }
                Err(reason) => left_out("network card", function, &reason),
            }
        }
        devices
    }

    fn tell_of_disk(&mut self, disk: Rc<dyn Disk>) {
        let geometry = disk.geometry();
        let size = geometry.sectors.saturating_mul(SECTOR_SIZE as u64) / MIB;
        let sectors = match geometry.sector_size {
            512 => "",
            _ => ", sectors of 4096 bytes",
        };
        let access = if geometry.read_only {
            ", read-only"
        } else {
            ""
        };
        let name = self.add_disk(disk);
        log::info!("{name}: {size} MiB, virtio{sectors}{access}");
    }

    fn tell_of_nic(&mut self, nic: Rc<dyn Nic>, has_link: bool) {
        let (mac, mtu) = (nic.mac(), nic.mtu());
        let link = if has_link { "" } else { ", no link" };
        let name = self.add_nic(nic);
        log::info!("{name}: {mac}, MTU {mtu}, virtio{link}");
    }
}

fn left_out(kind: &str, function: DeviceFunction, reason: &impl fmt::Display) {
    log::warn!("the {kind} at PCI {function} is left out: {reason}");
}
