//! Memory management, as grants see it: references on frames, and single page-table entries.

use guest_abi::frame::{GuestVirtAddr, MachAddr, Mfn, PAGE_SHIFT};
use guest_abi::grant_table::MapFlags;
use guest_abi::ids::DomId;
use guest_abi::mmu::{Pte, PteFlags};

use super::copy::CopyMachine;
use super::entry::Access;
use super::map::{Machine, Place};
use super::refusal::Refusal;
use crate::arch;
use crate::domain::VcpuRef;
use crate::mm::access::with_space;
use crate::mm::pagetable::update::Bits;
use crate::mm::pagetable::walk::Slot;
use crate::mm::pagetable::{Budget, Space};
use crate::mm::roots::{Which, root};
use crate::mm::{self, Hold, hardware::Hardware};

/// The machine on behalf of the calling vCPU.
#[derive(Debug)]
pub(crate) struct Caller<'a>(pub(crate) &'a VcpuRef);

/// The machine on behalf of nobody: for domains that die and have no tables to change.
#[derive(Debug)]
pub(crate) struct Nobody;

const fn hold_for(access: Access) -> Hold {
    match access {
        Access::Read => Hold::Read,
        Access::Write => Hold::Write,
    }
}

#[inline]
fn hold(owner: DomId, frame: Mfn, access: Access) -> Result<(), Refusal> {
    mm::hold(owner, frame, hold_for(access)).map_err(Refusal::Frame)
}

impl Caller<'_> {
    /// Flushes what the domain's page-table entries, removed before now, may have left in TLBs.
    pub(crate) fn flush(&self) {
        let here = arch::this_cpu();
        arch::tlb::flush_mask(self.0.domain().dirty_cpus.load().with(here));
    }

    /// The slot of an L1 table in use by the caller that `place` means.
    fn slot(&self, space: &Space<'_, Hardware>, place: Place) -> Option<Slot> {
        let slot = match place {
            Place::Address(va) => {
                space.find_leaf(root(self.0, Which::Kernel)?, GuestVirtAddr::new(va))
            }
            Place::Entry(maddr) => Slot::at(MachAddr::new(maddr)),
        }?;
        space.is_leaf(slot).then_some(slot)
    }
}

impl Machine for Caller<'_> {
    #[inline]
    fn hold(&self, owner: DomId, frame: Mfn, access: Access) -> Result<(), Refusal> {
        hold(owner, frame, access)
    }

    #[inline]
    fn let_go(&self, frame: Mfn, access: Access) {
        mm::let_go(frame, hold_for(access));
    }

    fn install(
        &self,
        place: Place,
        granter: DomId,
        frame: Mfn,
        flags: MapFlags,
    ) -> Result<(), Refusal> {
        // A single entry takes no validation of tables, so there is nothing to pause for.
        with_space(self.0.domain(), &mut Budget::new(0), |space| {
            let slot = self.slot(space, place).ok_or(Refusal::NoEntry)?;
            space
                .update(slot, entry_for(frame, flags), granter, Bits::AsGiven)
                .map_err(Refusal::from)
        })
    }

    fn remove(&self, place: Place, frame: Mfn, access: Access) -> Result<(), Refusal> {
        let domain = self.0.domain();
        with_space(domain, &mut Budget::new(0), |space| {
            let slot = self.slot(space, place).ok_or(Refusal::NoEntry)?;
            let now = space.read(slot).ok_or(Refusal::NoEntry)?;
            let is_writable = now.flags().contains(PteFlags::RW);
            if !now.is_present() || now.frame() != frame || is_writable != (access == Access::Write)
            {
                return Err(Refusal::Elsewhere(frame));
            }
            space
                .update(slot, Pte::EMPTY, domain.id, Bits::AsGiven)
                .map_err(Refusal::from)
        })
    }
}

impl CopyMachine for Caller<'_> {
    #[inline]
    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), len: usize) {
        arch::direct_map::copy(address(from), address(to), len);
    }
}

fn address((frame, offset): (Mfn, usize)) -> MachAddr {
    MachAddr::new((frame.get() << PAGE_SHIFT) + offset as u64)
}

impl Machine for Nobody {
    fn hold(&self, owner: DomId, frame: Mfn, access: Access) -> Result<(), Refusal> {
        hold(owner, frame, access)
    }

    fn let_go(&self, frame: Mfn, access: Access) {
        mm::let_go(frame, hold_for(access));
    }

    fn install(&self, _: Place, _: DomId, _: Mfn, _: MapFlags) -> Result<(), Refusal> {
        Err(Refusal::NoEntry)
    }

    fn remove(&self, _: Place, _: Mfn, _: Access) -> Result<(), Refusal> {
        Err(Refusal::NoEntry)
    }
}

/// Where a request's flags keep the bits for the guest's own use, and where an entry does.
const GUEST_AVAILABLE_SHIFT: u32 = 16;
const AVAILABLE_SHIFT: u32 = 9;

/// The page-table entry of a mapping. Accessed and dirty are set, so that no CPU writes to it
/// between the moment it is compared and the moment it is cleared.
fn entry_for(frame: Mfn, flags: MapFlags) -> Pte {
    let available = u64::from(flags.bits() >> GUEST_AVAILABLE_SHIFT) << AVAILABLE_SHIFT;
    let mut bits = PteFlags::PRESENT | PteFlags::ACCESSED | PteFlags::DIRTY;
    bits |= PteFlags::from_bits_truncate(available) & PteFlags::AVAIL_LOW;
    bits.set(PteFlags::RW, !flags.contains(MapFlags::READONLY));
    bits.set(PteFlags::USER, flags.contains(MapFlags::APPLICATION_MAP));
    Pte::map(frame, bits)
}

#[cfg(test)]
mod tests {
    use super::entry_for;
    use guest_abi::frame::Mfn;
    use guest_abi::grant_table::MapFlags;

    #[test]
    fn the_flags_of_a_mapping_become_bits_of_its_entry() {
        let kernel = MapFlags::HOST_MAP | MapFlags::READONLY;
        assert_eq!(entry_for(Mfn::new(0x12345), kernel).get(), 0x1234_5061);
        let user = MapFlags::from_bits_retain(0x0007_000a);
        assert_eq!(entry_for(Mfn::new(1), user).get(), 0x1e67);
    }
}
