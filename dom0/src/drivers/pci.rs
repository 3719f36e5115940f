//! PCI: finding devices, and routing their interrupts here as event channels.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use frontends::events;
use frontends::window::{Access, Mapping};
use guest_abi::ids::DomIdArg;
use guest_abi::physdev::{MapPirq, MapPirqType, PciDeviceAdd, PhysdevOp};
use guest_abi::{Errno, MachAddr, Port};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::transport::pci::bus::{
    CapabilityInfo, Command, ConfigurationAccess, DeviceFunction, PciRoot,
};
use virtio_drivers::transport::pci::virtio_device_type;

use super::acpi::{self, Firmware};
use super::doorbell::Doorbell;
use super::interrupt::{Line, Route, ich9_line, physdev};
use crate::arch::config_space::ConfigSpace;

/// The capability of message-signalled interrupts with a table (MSI-X): PCI 3.0, 6.8.2.
const MSIX_CAPABILITY: u8 = 0x11;
/// In the upper half of its first word: the function is enabled, and not masked as a whole.
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK_ALL: u16 = 1 << 14;

/// Offsets in a virtio device's common configuration. Virtio 1.2, 4.1.4.3.
const QUEUE_SELECT: usize = 0x16;
const QUEUE_MSIX_VECTOR: usize = 0x1a;
const QUEUE_NOTIFY_OFFSET: usize = 0x1e;

/// Interrupt line, and from bit 8 on interrupt pin: PCI 3.0, 6.2.4.
const INTERRUPT_REGISTER: u8 = 0x3c;
/// The ICH9's bridge to the ISA devices, and what it calls itself.
const ICH9_BRIDGE: DeviceFunction = DeviceFunction {
    bus: 0,
    device: 31,
    function: 0,
};
const ICH9_IDENTITY: u32 = 0x2918_8086;

/// Bus 0 of the host.
#[derive(Debug)]
pub struct Bus {
    space: ConfigSpace,
    /// The crate's view of the same registers.
    pub root: PciRoot<ConfigSpace>,
    /// Interrupt lines in use, by number.
    lines: BTreeMap<u32, Rc<Line>>,
}

/// Firmware tables in machine memory that belongs to nobody.
struct MachineFirmware {
    root_pointer: Option<MachAddr>,
}

impl Firmware for MachineFirmware {
    fn bytes(&self, start: MachAddr, len: usize) -> Option<Vec<u8>> {
        let mapping = Mapping::machine(start, len as u64, Access::ReadOnly).ok()?;
        let mut bytes = alloc::vec![0; len];
        mapping.read(start.page_offset(), &mut bytes);
        Some(bytes)
    }

    fn root_pointer(&self) -> Option<MachAddr> {
        self.root_pointer
    }
}

impl Bus {
    /// Finds and maps bus 0. ACPI's root pointer lies where a BIOS leaves it, or else here.
    pub fn find(root_pointer: Option<MachAddr>) -> Option<Self> {
        let base = acpi::config_space_base(&MachineFirmware { root_pointer })?;
        let space = ConfigSpace::map(base, 0).ok()?;
        Some(Self {
            root: PciRoot::new(space.clone()),
            space,
            lines: BTreeMap::new(),
        })
    }

    /// The virtio devices of one kind.
    pub fn virtio(&self, kind: DeviceType) -> Vec<DeviceFunction> {
        self.root
            .enumerate_bus(0)
            .filter(|(_, info)| virtio_device_type(info) == Some(kind))
            .map(|(function, _)| function)
            .collect()
    }

    /// Lets a device access memory by itself, and its registers be mapped.
    pub fn enable(&mut self, function: DeviceFunction) {
        let (_, command) = self.root.get_status_command(function);
        let wanted = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
        self.root.set_command(function, command | wanted);
    }

    /// Routes a device's interrupt here: by message, or by line if it has no messages.
    ///
    /// # Errors
    /// `ENODEV` for a device with neither; the hypervisor's refusal.
    pub fn route(&mut self, function: DeviceFunction) -> Result<Route, Errno> {
        match self.route_msix(function) {
            Ok(port) => Ok(Route::Message(port)),
            Err(Errno::ENODEV) => self.route_line(function).map(Route::Line),
            Err(errno) => Err(errno),
        }
    }

    /// The line that a device's pin is wired to.
    fn route_line(&mut self, function: DeviceFunction) -> Result<Rc<Line>, Errno> {
        // How pins are wired is the board's affair: only this one's rule is known.
        if self.space.read_word(ICH9_BRIDGE, 0) != ICH9_IDENTITY {
            return Err(Errno::ENODEV);
        }
        let [_, pin, ..] = self
            .space
            .read_word(function, INTERRUPT_REGISTER)
            .to_le_bytes();
        let number = ich9_line(function.device, pin).ok_or(Errno::ENODEV)?;
        let line = match self.lines.get(&number) {
            Some(line) => line.clone(),
            None => Line::bind(number)?,
        };
        self.lines.insert(number, line.clone());
        let (_, command) = self.root.get_status_command(function);
        self.root
            .set_command(function, command - Command::INTERRUPT_DISABLE);
        Ok(line)
    }

    /// Routes entry 0 of a device's MSI-X table to a new event channel.
    ///
    /// # Errors
    /// `ENODEV` for a device without MSI-X; the hypervisor's refusal.
    fn route_msix(&mut self, function: DeviceFunction) -> Result<Port, Errno> {
        let capability = self.msix(function).ok_or(Errno::ENODEV)?;
        let table = self
            .msix_table(function, capability.offset)
            .ok_or(Errno::ENODEV)?;
        let devfn = function.device << 3 | function.function;
        let mut add = PciDeviceAdd {
            bus: function.bus,
            devfn,
            ..PciDeviceAdd::default()
        };
        // A hypervisor that needs no telling says so; a device known already is no harm either.
        let _ = physdev(PhysdevOp::PciDeviceAdd, &mut add);
        let mut map = MapPirq {
            domid: DomIdArg::SELF,
            kind: MapPirqType::Msi.number(),
            index: -1,
            pirq: -1,
            bus: function.bus.into(),
            devfn: devfn.into(),
            entry_nr: 0,
            table_base: table.get(),
            ..MapPirq::default()
        };
        physdev(PhysdevOp::MapPirq, &mut map)?;
        let control = (capability.private_header | MSIX_ENABLE) & !MSIX_MASK_ALL;
        // Just this half of the word: Xen drops wider writes to the capability.
        self.space
            .write_half(function, capability.offset + 2, control);
        events::bind_pirq(u32::try_from(map.pirq).map_err(|_| Errno::EINVAL)?)
    }

    /// Lets a virtio device's queue signal through entry 0 of the MSI-X table. To be called before
    /// the queue is set up. Virtio 1.2, 4.1.4.3.
    ///
    /// # Errors
    /// `ENODEV` for a device without the registers; the hypervisor's refusal to map them.
    pub fn use_vector_0(&mut self, function: DeviceFunction, queue: u16) -> Result<(), Errno> {
        let common = self.common_configuration(function).ok_or(Errno::ENODEV)?;
        let registers = Mapping::device(common, 64).map_err(|error| error.errno)?;
        let start = common.page_offset();
        registers
            .u16(start + QUEUE_SELECT)
            .store(queue, Ordering::Relaxed);
        registers
            .u16(start + QUEUE_MSIX_VECTOR)
            .store(0, Ordering::Relaxed);
        match registers
            .u16(start + QUEUE_MSIX_VECTOR)
            .load(Ordering::Relaxed)
        {
            0 => Ok(()),
            _ => Err(Errno::ENODEV),
        }
    }

    /// Where a virtio device's common configuration lies.
    fn common_configuration(&mut self, function: DeviceFunction) -> Option<MachAddr> {
        const COMMON: u16 = 1;
        let capability = self.virtio_structure(function, COMMON)?;
        self.structure_address(function, &capability)
    }

    /// The register that tells a virtio device of a queue, and needs no other. To be called once
    /// the device's driver is known to it. Virtio 1.2, 4.1.4.4.
    ///
    /// # Errors
    /// `ENODEV` for a device without it; the hypervisor's refusal to map it.
    pub fn doorbell(&mut self, function: DeviceFunction, queue: u16) -> Result<Doorbell, Errno> {
        const NOTIFY: u16 = 2;
        const MULTIPLIER: u8 = 16;
        let common = self.common_configuration(function).ok_or(Errno::ENODEV)?;
        let registers = Mapping::device(common, 64).map_err(|error| error.errno)?;
        let at = common.page_offset();
        registers
            .u16(at + QUEUE_SELECT)
            .store(queue, Ordering::Relaxed);
        let index = registers
            .u16(at + QUEUE_NOTIFY_OFFSET)
            .load(Ordering::Relaxed);
        let capability = self.virtio_structure(function, NOTIFY);
        let capability = capability.ok_or(Errno::ENODEV)?;
        let start = self.structure_address(function, &capability);
        let start = start.ok_or(Errno::ENODEV)?;
        let multiplier = self
            .space
            .read_word(function, capability.offset + MULTIPLIER);
        let offset = u64::from(index) * u64::from(multiplier);
        Doorbell::map(MachAddr::new(start.get() + offset), queue)
    }

    /// The capability that leads to a structure of a virtio device's. Virtio 1.2, 4.1.4.
    fn virtio_structure(&self, function: DeviceFunction, kind: u16) -> Option<CapabilityInfo> {
        const VENDOR_CAPABILITY: u8 = 0x09;
        self.root.capabilities(function).find(|capability| {
            capability.id == VENDOR_CAPABILITY && capability.private_header >> 8 == kind
        })
    }

    fn structure_address(
        &mut self,
        function: DeviceFunction,
        capability: &CapabilityInfo,
    ) -> Option<MachAddr> {
        let bar = self.space.read_word(function, capability.offset + 4);
        let offset = self.space.read_word(function, capability.offset + 8);
        let bar = self.root.bar_info(function, (bar & 0xff) as u8).ok()??;
        let (address, _) = bar.memory_address_size()?;
        Some(MachAddr::new(address + u64::from(offset)))
    }

    fn msix(&self, function: DeviceFunction) -> Option<CapabilityInfo> {
        self.root
            .capabilities(function)
            .find(|capability| capability.id == MSIX_CAPABILITY)
    }

    /// The machine address of a device's MSI-X table: a BAR and an offset into it.
    fn msix_table(&mut self, function: DeviceFunction, capability: u8) -> Option<MachAddr> {
        let word = self.space.read_word(function, capability + 4);
        let bar = self.root.bar_info(function, (word & 7) as u8).ok()??;
        let (address, _) = bar.memory_address_size()?;
        Some(MachAddr::new(address + u64::from(word & !7)))
    }
}
