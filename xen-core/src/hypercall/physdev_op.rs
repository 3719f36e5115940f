//! `physdev_op`: ports, devices and their interrupts.
//!
//! Ordinary domains may set their virtual IOPL, which gives them nothing beyond what their
//! emulated ports answer, and no more. Devices belong to the privileged domain; it programs their
//! configuration space itself, MSI-X enable bit included, and names the table's own address to
//! `map_pirq`. The core writes the table's entries, because only it knows vectors.

use guest_abi::errno::Errno;
use guest_abi::frame::MachAddr;
use guest_abi::ids::DomIdArg;
use guest_abi::physdev::{
    Apic, Eoi, GetFreePirq, IrqStatusFlags, IrqStatusQuery, MapPirq, MapPirqType, PciDevice,
    PciDeviceAdd, PciMmcfgReserved, PhysdevOp, SetIobitmap, SetIopl, SetupGsi, UnmapPirq,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::guest_ptr::GuestPtr;
use super::{Call, Reply};
use crate::event::lines;
use crate::event::pirq::{Source, Trigger};
use crate::mm::device_memory::may_be_mapped;

/// The entries that an MSI-X table can have.
const MSIX_ENTRIES: u16 = 2048;

/// `physdev_op(command, argument)`.
pub fn physdev_op(call: &mut Call<'_>) -> Reply {
    let [command, argument, ..] = call.args;
    let command = PhysdevOp::from_register(command).ok_or(Errno::ENOSYS)?;
    match command {
        PhysdevOp::SetIopl => return set_iopl(call, copy_in(argument)?),
        PhysdevOp::SetIobitmap => return set_iobitmap(call, copy_in(argument)?),
        _ => call.require_privilege()?,
    }
    match command {
        PhysdevOp::IrqStatusQuery => answered(call, argument, irq_status_query),
        PhysdevOp::ApicRead => answered(call, argument, apic_read),
        PhysdevOp::ApicWrite => accept::<Apic>(argument),
        PhysdevOp::Eoi => {
            let Eoi { irq } = copy_in(argument)?;
            lines::end(call.domain().id, irq).map_err(Errno::from)?;
            Ok(0)
        }
        PhysdevOp::MapPirq => answered(call, argument, map_pirq),
        PhysdevOp::UnmapPirq => unmap_pirq(call, copy_in(argument)?),
        PhysdevOp::SetupGsi => setup_gsi(call, copy_in(argument)?),
        PhysdevOp::GetFreePirq => answered(call, argument, get_free_pirq),
        // The core keeps no list of devices: whoever owns them all needs none.
        PhysdevOp::PciDeviceAdd => accept::<PciDeviceAdd>(argument),
        PhysdevOp::PciDeviceRemove | PhysdevOp::PrepareMsix | PhysdevOp::ReleaseMsix => {
            accept::<PciDevice>(argument)
        }
        PhysdevOp::PciMmcfgReserved => accept::<PciMmcfgReserved>(argument),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn copy_in<T: FromBytes + IntoBytes + Immutable>(argument: u64) -> Result<T, Errno> {
    GuestPtr::new(argument).copy_in()
}

/// An operation that needs nothing done.
fn accept<T: FromBytes + IntoBytes + Immutable>(argument: u64) -> Reply {
    copy_in::<T>(argument)?;
    Ok(0)
}

/// An operation whose structure goes back with an answer in it.
fn answered<T: FromBytes + IntoBytes + Immutable>(
    call: &Call<'_>,
    argument: u64,
    operation: impl FnOnce(&Call<'_>, &mut T) -> Result<(), Errno>,
) -> Reply {
    let argument = GuestPtr::<T>::new(argument);
    let mut op = argument.copy_in()?;
    operation(call, &mut op)?;
    argument.copy_out(&op)?;
    Ok(0)
}

fn set_iopl(call: &Call<'_>, op: SetIopl) -> Reply {
    let iopl = u8::try_from(op.iopl).ok().filter(|iopl| *iopl <= 3);
    call.vcpu.context.lock().io.iopl = iopl.ok_or(Errno::EINVAL)?;
    Ok(0)
}

fn set_iobitmap(call: &Call<'_>, op: SetIobitmap) -> Reply {
    if op.nr_ports > 0x1_0000 {
        return Err(Errno::EINVAL.into());
    }
    let io = &mut call.vcpu.context.lock().io;
    io.bitmap = op.bitmap;
    io.bitmap_ports = op.nr_ports;
    Ok(0)
}

fn irq_status_query(call: &Call<'_>, op: &mut IrqStatusQuery) -> Result<(), Errno> {
    let source = lines::source(call.domain().id, op.irq);
    let needs_eoi = source.is_some_and(Source::needs_eoi);
    op.flags = if needs_eoi {
        IrqStatusFlags::NEEDS_EOI.bits()
    } else {
        0
    };
    Ok(())
}

/// A picture of an I/O interrupt controller with 24 masked pins: what a kernel wants to see that
/// counts them.
fn apic_read(_: &Call<'_>, op: &mut Apic) -> Result<(), Errno> {
    const VERSION: u32 = 1;
    const FIRST_PIN: u32 = 0x10;
    op.value = match op.reg {
        VERSION => 0x0017_0020,
        FIRST_PIN..=0x3f if op.reg.is_multiple_of(2) => 1 << 16,
        _ => 0,
    };
    Ok(())
}

fn require_self(call: &Call<'_>, domid: DomIdArg) -> Result<(), Errno> {
    // Devices are not passed through to other domains.
    if domid.resolve(call.domain().id) == call.domain().id {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

fn map_pirq(call: &Call<'_>, op: &mut MapPirq) -> Result<(), Errno> {
    require_self(call, op.domid)?;
    let owner = call.domain().id;
    let wanted = u32::try_from(op.pirq).ok();
    let source = match MapPirqType::from_number(op.kind).ok_or(Errno::EINVAL)? {
        MapPirqType::Gsi => {
            let gsi = u32::try_from(op.index).map_err(|_| Errno::EINVAL)?;
            Source::Gsi {
                gsi,
                trigger: lines::default_trigger(gsi),
            }
        }
        MapPirqType::Msi | MapPirqType::MsiSeg => msix_entry(op)?,
        MapPirqType::MultiMsi | MapPirqType::Unknown => return Err(Errno::EOPNOTSUPP),
    };
    let pirq = lines::map(owner, wanted, source)?;
    op.pirq = i32::try_from(pirq).map_err(|_| Errno::EINVAL)?;
    Ok(())
}

/// Plain MSI lies in configuration space, which is the privileged domain's: only MSI-X is done.
fn msix_entry(op: &MapPirq) -> Result<Source, Errno> {
    let table = op.table_base;
    let entry = u16::try_from(op.entry_nr).map_err(|_| Errno::EINVAL)?;
    if table == 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let last = table
        .checked_add(u64::from(entry) * 16)
        .ok_or(Errno::EINVAL)?;
    let fits = entry < MSIX_ENTRIES && table.is_multiple_of(8) && last < 1 << 52;
    if !fits || !may_be_mapped(MachAddr::new(last).frame()) {
        return Err(Errno::EINVAL);
    }
    Ok(Source::Message { table, entry })
}

fn unmap_pirq(call: &Call<'_>, op: UnmapPirq) -> Reply {
    require_self(call, op.domid)?;
    let pirq = u32::try_from(op.pirq).map_err(|_| Errno::EINVAL)?;
    lines::unmap(call.domain().id, pirq).map_err(Errno::from)?;
    Ok(0)
}

fn setup_gsi(call: &Call<'_>, op: SetupGsi) -> Reply {
    let gsi = u32::try_from(op.gsi).map_err(|_| Errno::EINVAL)?;
    let trigger = Trigger {
        level: op.triggering != 0,
        active_low: op.polarity != 0,
    };
    lines::set_trigger(call.domain().id, gsi, trigger);
    Ok(0)
}

fn get_free_pirq(call: &Call<'_>, op: &mut GetFreePirq) -> Result<(), Errno> {
    op.pirq = lines::reserve(call.domain().id)?;
    Ok(())
}
