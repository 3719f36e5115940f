//! Real domains over memory management on the fake machine: page-table entries and references.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use guest_abi::frame::{MachAddr, Mfn, Pfn};
use guest_abi::grant_table::{GrantEntryFlags, GrantStatus, MapFlags};
use guest_abi::ids::{DomId, GrantHandle, GrantRef, VcpuId};
use guest_abi::mmu::{Pte, PteFlags};

use super::entry::EntryWord;
use super::machine::{Caller, Nobody};
use super::map::{Parts, Place, Request, map, release_some, unmap};
use super::refusal::Refusal;
use crate::arch::direct_map;
use crate::arch::shared_page::SharedPage;
use crate::domain::{Domain, DomainRef, VcpuRef};
use crate::event;
use crate::mm::pagetable::Budget;
use crate::mm::pagetable::update::Bits;
use crate::mm::pagetable::walk::Slot;
use crate::mm::{self, Hold, Which};

/// A domain with some frames, of which four make up page tables for its lowest 2 MiB.
struct Guest {
    domain: DomainRef,
    l1: Mfn,
}

impl Guest {
    fn new(id: u16) -> Self {
        mm::heap::start_fake();
        let domain = Domain::fake(id, 1);
        domain.memory.set_max_pages(16);
        let guest = Self {
            l1: frame_of(&domain, 1),
            domain,
        };
        let tables = [4, 3, 2].map(|pfn| frame_of(&guest.domain, pfn));
        for (table, below) in tables.into_iter().zip([tables[1], tables[2], guest.l1]) {
            let pte = Pte::map(below, PteFlags::PRESENT | PteFlags::RW | PteFlags::USER);
            direct_map::entries(table)[0].store(pte.get(), SeqCst);
        }
        mm::install_root(&guest.domain, &guest.vcpu(), Which::Kernel, Some(tables[0])).unwrap();
        guest
    }

    fn vcpu(&self) -> VcpuRef {
        VcpuRef::new(&self.domain, VcpuId::new(0)).unwrap()
    }

    fn grant(&self, reference: u32, to: &Self, frame: Mfn) {
        let table = SharedPage::new(self.domain.grants.frame(self.domain.id, 0).unwrap());
        let at = reference as usize * 8;
        table
            .atomic_u32(at + 4)
            .store(u32::try_from(frame.get()).unwrap(), SeqCst);
        let word = EntryWord::permit(to.domain.id, GrantEntryFlags::empty());
        table.atomic_u32(at).store(word.get(), SeqCst);
    }

    fn entry(&self, index: usize) -> Pte {
        Pte::new(direct_map::entries(self.l1)[index].load(SeqCst))
    }

    fn map(&self, of: &Self, place: Place, flags: MapFlags) -> Result<GrantHandle, GrantStatus> {
        let request = Request {
            reference: GrantRef::new(9),
            flags,
            place,
        };
        let vcpu = self.vcpu();
        map(&self.domain, &of.domain, &request, &Caller(&vcpu))
            .map(|(handle, _)| handle)
            .map_err(Refusal::status)
    }

    fn unmap(&self, handle: GrantHandle, at: u64) -> Result<(), GrantStatus> {
        let (vcpu, parts) = (
            self.vcpu(),
            Parts {
                host: Some(at),
                device: None,
            },
        );
        let machine = Caller(&vcpu);
        unmap(&self.domain, handle, parts, &machine)
            .map(|unmapped| unmapped.finish(&self.domain, &machine))
            .map_err(Refusal::status)
    }

    /// An ordinary update of the page table.
    fn write(&self, index: usize, pte: Pte, frames_of: DomId) -> bool {
        let slot = Slot {
            table: self.l1,
            index,
        };
        mm::with_space(&self.domain, &mut Budget::new(0), |space| {
            space.update(slot, pte, frames_of, Bits::AsGiven).is_ok()
        })
    }
}

fn frame_of(domain: &Domain, pfn: u64) -> Mfn {
    mm::give_frames(domain, 0, Pfn::new(pfn)).unwrap()
}

fn references(frame: Mfn) -> u32 {
    mm::heap::page(frame).unwrap().refs().refs
}

/// Whether the owner could make the frame a page table: nobody may write to it.
fn is_unwritten(owner: &Guest, frame: Mfn) -> bool {
    mm::with_space(&owner.domain, &mut Budget::new(600), |space| {
        let level = mm::pagetable::entry::Level::L1;
        let typed = space.get_table(frame, level).is_ok();
        if typed {
            space.put_table(frame);
            space.drain();
            assert!(!space.has_work(), "the budget is enough");
        }
        typed
    })
}

const WRITE: MapFlags = MapFlags::HOST_MAP;

#[test]
fn a_mapping_writes_the_entry_and_its_unmapping_gives_everything_back() {
    let (granter, mapper) = (Guest::new(0x4d00), Guest::new(0x4d01));
    let frame = frame_of(&granter.domain, 9);
    let before = references(frame);
    granter.grant(9, &mapper, frame);
    let handle = mapper.map(&granter, Place::Address(0x3000), WRITE).unwrap();
    assert_eq!(mapper.entry(3).frame(), frame);
    assert!(
        mapper
            .entry(3)
            .flags()
            .contains(PteFlags::PRESENT | PteFlags::RW)
    );
    assert!(
        !is_unwritten(&granter, frame),
        "no table while it may be written"
    );
    assert!(references(frame) > before);
    mapper.unmap(handle, 0x3000).unwrap();
    assert_eq!(mapper.entry(3), Pte::EMPTY);
    assert_eq!(references(frame), before);
    assert!(is_unwritten(&granter, frame));
    assert_eq!(Arc::strong_count(&granter.domain), 1);
    assert_eq!(mapper.unmap(handle, 0x3000), Err(GrantStatus::BadHandle));
}

#[test]
fn an_entry_is_named_by_its_machine_address_too() {
    let (granter, mapper) = (Guest::new(0x4d02), Guest::new(0x4d03));
    let frame = frame_of(&granter.domain, 9);
    granter.grant(9, &mapper, frame);
    let at = MachAddr::new(mapper.l1.to_maddr().get() + 8 * 7);
    let flags = WRITE | MapFlags::CONTAINS_PTE | MapFlags::APPLICATION_MAP | MapFlags::READONLY;
    let handle = mapper.map(&granter, Place::Entry(at.get()), flags).unwrap();
    let entry = mapper.entry(7);
    assert!(entry.frame() == frame && !entry.flags().contains(PteFlags::RW));
    assert!(is_unwritten(&granter, frame), "only read");
    mapper.unmap(handle, at.get()).unwrap();
    assert_eq!(mapper.entry(7), Pte::EMPTY);
}

#[test]
fn only_ones_own_tables_take_a_mapping() {
    let (granter, mapper) = (Guest::new(0x4d04), Guest::new(0x4d05));
    let frame = frame_of(&granter.domain, 9);
    granter.grant(9, &mapper, frame);
    let before = references(frame);
    let plain = frame_of(&mapper.domain, 8).to_maddr().get();
    let foreign = granter.l1.to_maddr().get();
    let misaligned = mapper.l1.to_maddr().get() + 4;
    for place in [plain, foreign, misaligned, 0, 1 << 51, u64::MAX] {
        let refused = mapper.map(
            &granter,
            Place::Entry(place),
            WRITE | MapFlags::CONTAINS_PTE,
        );
        assert_eq!(refused, Err(GrantStatus::GeneralError), "{place:#x}");
    }
    for address in [0x20_0000, 0xffff_8000_0000_0000, 0x8000_0000_0000, u64::MAX] {
        let refused = mapper.map(&granter, Place::Address(address), WRITE);
        assert_eq!(refused, Err(GrantStatus::GeneralError), "{address:#x}");
    }
    assert_eq!(references(frame), before);
    assert_eq!(granter.domain.grants.entries_in_use(), 0);
    assert_eq!(mapper.domain.grants.mapping_count(), 0);
}

#[test]
fn an_entry_that_was_overwritten_drops_its_own_hold_and_no_more() {
    let (granter, mapper) = (Guest::new(0x4d06), Guest::new(0x4d07));
    let frame = frame_of(&granter.domain, 9);
    let before = references(frame);
    granter.grant(9, &mapper, frame);
    let handle = mapper.map(&granter, Place::Address(0x3000), WRITE).unwrap();
    assert!(mapper.write(3, Pte::EMPTY, mapper.domain.id));
    assert!(references(frame) > before, "the mapping holds it still");
    assert!(!is_unwritten(&granter, frame));
    assert_eq!(mapper.unmap(handle, 0x3000), Err(GrantStatus::GeneralError));
    // A guest cannot put the entry back by itself, either.
    let pte = Pte::map(frame, PteFlags::PRESENT | PteFlags::RW);
    assert!(!mapper.write(3, pte, mapper.domain.id));
    while !release_some(&mapper.domain, 1, &Nobody) {}
    assert_eq!(references(frame), before);
    assert!(is_unwritten(&granter, frame));
    assert_eq!(granter.domain.grants.entries_in_use(), 0);
}

#[test]
fn a_page_table_is_not_granted_for_writing() {
    let (granter, mapper) = (Guest::new(0x4d08), Guest::new(0x4d09));
    granter.grant(9, &mapper, granter.l1);
    let refused = mapper.map(&granter, Place::Address(0x3000), WRITE);
    assert_eq!(refused, Err(GrantStatus::GeneralError));
    assert!(
        mapper
            .map(&granter, Place::Address(0x3000), WRITE | MapFlags::READONLY)
            .is_ok()
    );
}

#[test]
fn a_vcpu_info_is_registered_in_ones_own_writable_frame_once() {
    let guest = Guest::new(0x4d0a);
    let (vcpu, frame) = (guest.vcpu(), frame_of(&guest.domain, 9));
    let before = references(frame);
    let refused = Err(guest_abi::errno::Errno::EINVAL);
    assert_eq!(
        event::register_vcpu_info(&vcpu, guest.l1, 0),
        refused,
        "a page table"
    );
    assert_eq!(event::register_vcpu_info(&vcpu, Mfn::INVALID, 0), refused);
    assert_eq!(event::register_vcpu_info(&vcpu, frame, 4096 - 56), refused);
    assert_eq!(references(frame), before);
    event::register_vcpu_info(&vcpu, frame, 128).unwrap();
    assert_eq!(
        event::register_vcpu_info(&vcpu, frame, 256),
        refused,
        "once"
    );
    assert!(references(frame) > before && !is_unwritten(&guest, frame));
    assert!(event::vcpu_info(&vcpu).is_some_and(|info| info.mfn() == frame));
    guest.domain.events.close_all(&guest.domain).unwrap();
    assert_eq!(references(frame), before);
    assert!(mm::hold(guest.domain.id, frame, Hold::Read).is_ok());
}
