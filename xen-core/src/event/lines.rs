//! The machine's physical interrupts: from a vector to the owner's port.
//!
//! [`pirq`](super::pirq) decides; here the controllers and tables are told. A line's lock covers
//! its state and its hardware together and is taken before no other lock of events.

use guest_abi::ids::{DomId, Port, VcpuId};

use super::bind;
use super::pirq::{LINES, Line, Source, Trigger};
use super::port::{PortError, PortState};
use crate::arch::{ioapic, irq, msi};
use crate::cpu::CpuId;
use crate::domain::{self, DomainRef};
use crate::sync::SpinLock;

/// ISA interrupts have the lowest numbers, and wiring of their own.
const ISA: u32 = 16;

struct Entry {
    line: Line,
    hardware: Option<irq::Bound>,
}

static TABLE: [SpinLock<Entry>; LINES as usize] = [const {
    SpinLock::new(Entry {
        line: Line::Free,
        hardware: None,
    })
}; LINES as usize];

fn entry(pirq: u32) -> Result<&'static SpinLock<Entry>, PortError> {
    TABLE.get(pirq as usize).ok_or(PortError::BadSource)
}

/// A physical interrupt has arrived: raises its port, if it is bound.
pub fn set_pirq_pending(pirq: u32) {
    let Ok(entry) = entry(pirq) else {
        return;
    };
    let fired = {
        let mut entry = entry.lock();
        let (line, fired) = entry.line.fire();
        entry.line = line;
        fired
    };
    if let Some((owner, port)) = fired
        && let Some(owner) = domain::table::get(owner)
    {
        bind::raise_source(&owner, port, PortState::Pirq(pirq));
    }
}

/// Gives `owner` a number that nothing uses, for messages.
///
/// # Errors
/// [`PortError::NoSpace`].
pub(crate) fn reserve(owner: DomId) -> Result<u32, PortError> {
    let first = ioapic::gsi_count().max(ISA);
    let free = (first..LINES).rev().find(|pirq| {
        entry(*pirq).is_ok_and(|entry| {
            let mut entry = entry.lock();
            entry
                .line
                .reserve(owner)
                .map(|line| entry.line = line)
                .is_ok()
        })
    });
    free.ok_or(PortError::NoSpace)
}

/// Says what a number stands for: `wanted`, or one that the core chooses.
///
/// # Errors
/// [`PortError::BadSource`] for a pin or number that there is not; [`PortError::AlreadyBound`];
/// [`PortError::NoSpace`].
pub(crate) fn map(owner: DomId, wanted: Option<u32>, source: Source) -> Result<u32, PortError> {
    let pirq = match (wanted, source) {
        (_, Source::Gsi { gsi, .. }) if gsi >= ioapic::gsi_count() => {
            return Err(PortError::BadSource);
        }
        (Some(pirq), _) => pirq,
        (None, Source::Gsi { gsi, .. }) => gsi,
        (None, Source::Message { .. }) => reserve(owner)?,
    };
    let mut entry = entry(pirq)?.lock();
    entry.line = entry.line.map(owner, source)?;
    Ok(pirq)
}

/// Forgets what a number stands for.
///
/// # Errors
/// See [`Line::unmap`].
pub(crate) fn unmap(owner: DomId, pirq: u32) -> Result<(), PortError> {
    let mut entry = entry(pirq)?.lock();
    entry.line = entry.line.unmap(owner)?;
    Ok(())
}

/// Changes how a pin is triggered, wherever it is mapped but not yet bound.
pub(crate) fn set_trigger(owner: DomId, gsi: u32, trigger: Trigger) {
    for entry in &TABLE {
        let mut entry = entry.lock();
        if entry.line.is_mapped_as(owner, Source::Gsi { gsi, trigger }) {
            entry.line = entry.line.with_trigger(trigger);
        }
    }
}

/// How a pin is triggered unless somebody says otherwise.
pub(crate) fn default_trigger(gsi: u32) -> Trigger {
    let wired = (0..16).map(ioapic::isa_wiring).find(|(at, _)| *at == gsi);
    match wired {
        Some((_, wiring)) => Trigger {
            level: wiring.level,
            active_low: wiring.active_low,
        },
        // Beyond the ISA interrupts are those of PCI.
        None => Trigger {
            level: gsi >= ISA,
            active_low: gsi >= ISA,
        },
    }
}

/// What a number stands for, for its owner.
pub(crate) fn source(owner: DomId, pirq: u32) -> Option<Source> {
    entry(pirq).ok()?.lock().line.source(owner)
}

/// Binds a new port of `owner` to a number that it has mapped, and lets it interrupt.
///
/// # Errors
/// See [`Line::bind`]; [`PortError::NoSpace`] when no vector is left.
pub(crate) fn bind(owner: &DomainRef, pirq: u32) -> Result<Port, PortError> {
    let mut entry = entry(pirq)?.lock();
    // Refused before anything is opened.
    entry.line.bind(owner.id, Port::new(0))?;
    let source = entry.line.source(owner.id).ok_or(PortError::BadSource)?;
    let port = owner
        .events
        .ports
        .open(PortState::Pirq(pirq), VcpuId::new(0))?;
    let Some(hardware) = connect(pirq, source) else {
        drop(entry);
        let _ = bind::close(owner, port);
        return Err(PortError::NoSpace);
    };
    entry.line = entry.line.bind(owner.id, port)?;
    entry.hardware = Some(hardware);
    // The line's lock keeps an interrupt that comes now from finding it half bound.
    irq::unmask(hardware);
    Ok(port)
}

fn connect(pirq: u32, source: Source) -> Option<irq::Bound> {
    match source {
        Source::Gsi { gsi, trigger } => {
            let wiring = ioapic::Wiring {
                level: trigger.level,
                active_low: trigger.active_low,
            };
            irq::bind_gsi(pirq, gsi, wiring, CpuId::BOOT)
        }
        Source::Message { table, entry } => {
            let bound = irq::bind_msi(pirq, CpuId::BOOT)?;
            if msi::write_entry(table, entry, msi::Message::new(bound), false) {
                return Some(bound);
            }
            irq::unbind(bound);
            None
        }
    }
}

/// The port that a number was bound to is closed: it interrupts no more.
pub(crate) fn unbind(owner: DomId, pirq: u32, port: Port) {
    let Ok(entry) = entry(pirq) else {
        return;
    };
    let mut entry = entry.lock();
    let line = entry.line.unbind(owner, port);
    if line == entry.line {
        return;
    }
    entry.line = line;
    let hardware = entry.hardware.take();
    if let Some(Source::Message { table, entry }) = line.source(owner) {
        msi::mask_entry(table, entry, true);
    }
    if let Some(hardware) = hardware {
        irq::unbind(hardware);
    }
}

/// The owner has served the interrupt.
///
/// # Errors
/// [`PortError::BadSource`] for a number that it has not mapped.
pub(crate) fn end(owner: DomId, pirq: u32) -> Result<(), PortError> {
    let mut entry = entry(pirq)?.lock();
    entry.line.source(owner).ok_or(PortError::BadSource)?;
    let (line, unmask) = entry.line.end(owner);
    entry.line = line;
    if unmask && let Some(hardware) = entry.hardware {
        irq::unmask(hardware);
    }
    Ok(())
}

/// Forgets all numbers of a domain whose ports are closed.
pub(crate) fn unmap_all(owner: DomId) {
    for entry in &TABLE {
        let mut entry = entry.lock();
        if let Ok(line) = entry.line.unmap(owner) {
            entry.line = line;
        }
    }
}
