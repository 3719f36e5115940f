//! What maps, unmaps and copies refuse, one rule at a time.

use std::cell::Cell;
use std::sync::Arc;

use guest_abi::grant_table::{GrantCopy, GrantEntryFlags, GrantStatus, MapFlags};
use guest_abi::ids::DomIdArg;

use super::copy::Copier;
use super::map::{Parts, map, unmap};
use super::refusal::Refusal;
use super::sim::{Memory, copy_request, domains, request};

#[test]
fn a_mapping_outlives_the_granters_hold_and_is_unmapped_once() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let wanted = request(1, 3, MapFlags::HOST_MAP.bits());
    let (handle, _) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
    assert!(
        Arc::strong_count(&domains[0]) > 1,
        "the granter stays while it is mapped"
    );
    let parts = Parts {
        host: Some(3),
        device: None,
    };
    let first = unmap(&domains[1], handle, parts, &memory).unwrap();
    let second = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(second.unwrap_err(), GrantStatus::BadHandle);
    assert_eq!(memory.count(2), (1, 1), "held until the flush is done");
    first.finish(&domains[1], &memory);
    assert!(memory.is_untouched());
    let third = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(third.unwrap_err(), GrantStatus::BadHandle);
}

#[test]
fn a_mapping_for_devices_holds_the_frame_and_needs_no_flush() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let parts = |device| Parts { host: None, device };
    for (flags, holds) in [
        (MapFlags::DEVICE_MAP, (1, 1)),
        (MapFlags::DEVICE_MAP | MapFlags::READONLY, (1, 0)),
    ] {
        let wanted = request(1, 3, flags.bits());
        let (handle, frame) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
        assert!(memory.entries.lock().unwrap().is_empty());
        assert_eq!(memory.count(2), holds, "as a mapping for the CPU would");
        let elsewhere = unmap(&domains[1], handle, parts(Some(3 << 12)), &memory);
        assert_eq!(elsewhere.unwrap_err(), GrantStatus::BadDevAddr);
        let of_nothing = unmap(&domains[1], handle, parts(None), &memory).unwrap();
        of_nothing.finish(&domains[1], &memory);
        assert_eq!(memory.count(2), holds, "still held for the device");
        let bus_address = frame.to_maddr().get();
        let unmapped = unmap(&domains[1], handle, parts(Some(bus_address)), &memory).unwrap();
        assert!(!unmapped.needs_flush());
        unmapped.finish(&domains[1], &memory);
        assert!(memory.is_untouched());
    }
}

#[test]
fn a_frame_that_must_not_be_written_is_not_mapped_for_devices_to_write() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 3, GrantEntryFlags::empty());
    domains[0].grant(2, 1, 2, GrantEntryFlags::READONLY);
    for reference in [1, 2] {
        let wanted = request(reference, 0, MapFlags::DEVICE_MAP.bits());
        let refused = map(&domains[1], &domains[0], &wanted, &memory);
        assert_eq!(refused.unwrap_err(), GrantStatus::GeneralError);
    }
    assert!(memory.is_untouched());
}

#[test]
fn of_a_mapping_for_both_each_part_goes_by_itself() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let both = MapFlags::HOST_MAP | MapFlags::DEVICE_MAP;
    let wanted = request(1, 3, both.bits());
    let (handle, frame) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
    let host = Parts {
        host: Some(3),
        device: None,
    };
    let first = unmap(&domains[1], handle, host, &memory).unwrap();
    assert!(first.needs_flush());
    first.finish(&domains[1], &memory);
    assert_eq!(memory.count(2), (1, 1), "the device still has it");
    let device = Parts {
        host: None,
        device: Some(frame.to_maddr().get()),
    };
    let second = unmap(&domains[1], handle, device, &memory).unwrap();
    assert!(!second.needs_flush());
    second.finish(&domains[1], &memory);
    assert!(memory.is_untouched());
}

#[test]
fn a_page_table_entry_that_was_changed_is_not_unmapped() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let wanted = request(1, 3, MapFlags::HOST_MAP.bits());
    let (handle, _) = map(&domains[1], &domains[0], &wanted, &memory).unwrap();
    memory.entries.lock().unwrap().insert(3, (9, true));
    let parts = Parts {
        host: Some(3),
        device: None,
    };
    let refused = unmap(&domains[1], handle, parts, &memory);
    assert_eq!(refused.unwrap_err(), GrantStatus::GeneralError);
    assert_eq!(memory.count(2), (1, 1), "still held");
}

#[test]
fn what_is_not_granted_gives_its_status() {
    let (memory, domains) = (Memory::default(), domains(1));
    let try_map = |reference, flags: MapFlags| {
        map(
            &domains[1],
            &domains[0],
            &request(reference, 3, flags.bits()),
            &memory,
        )
        .unwrap_err()
    };
    assert_eq!(try_map(512, MapFlags::HOST_MAP), GrantStatus::BadGntref);
    assert_eq!(
        try_map(u32::MAX, MapFlags::HOST_MAP),
        GrantStatus::BadGntref
    );
    assert_eq!(try_map(0, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    assert_eq!(try_map(0, MapFlags::empty()), GrantStatus::BadGntref);
    // A frame that is not the granter's; one that must not be written.
    domains[0].grant(1, 1, 9, GrantEntryFlags::empty());
    assert_eq!(try_map(1, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    domains[0].grant(2, 1, 3, GrantEntryFlags::empty());
    assert_eq!(try_map(2, MapFlags::HOST_MAP), GrantStatus::GeneralError);
    assert_eq!(domains[0].flags(2), 1, "the marks are gone again");
    assert!(memory.is_untouched());
}

#[test]
fn a_mapper_at_its_quota_gets_no_space() {
    let (memory, domains) = (Memory::default(), domains(0));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    let refused = map(&domains[1], &domains[0], &request(1, 3, 2), &memory);
    assert_eq!(refused.unwrap_err(), GrantStatus::NoSpace);
}

#[test]
fn a_copy_keeps_within_its_frames_and_its_rights() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::READONLY);
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
    let try_copy = |op: &GrantCopy| {
        let mut copier = Copier::new(&domains[1], &memory);
        copier.copy(op, find).map_err(Refusal::status)
    };
    let mut op = copy_request(0, 1, 8);
    op.len = 4096;
    assert_eq!(try_copy(&op), Ok(()));
    op.source.offset = 1;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadCopyArg));
    op.source.offset = u16::MAX;
    op.len = u16::MAX;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadCopyArg));
    // Foreign memory by frame number, a domain that is not there, somebody else's frame.
    let mut op = copy_request(0, 1, 8);
    op.dest.domid = DomIdArg::new(0);
    assert_eq!(try_copy(&op), Err(GrantStatus::PermissionDenied));
    let mut op = copy_request(7, 1, 8);
    op.len = 1;
    assert_eq!(try_copy(&op), Err(GrantStatus::BadDomain));
    assert_eq!(try_copy(&copy_request(0, 1, 2)), Err(GrantStatus::BadPage));
    // The other way round the grant would be written.
    let op = copy_request(0, 1, 8);
    let back = GrantCopy {
        source: op.dest,
        dest: op.source,
        flags: 2,
        ..op
    };
    assert_eq!(try_copy(&back), Err(GrantStatus::GeneralError));
    assert!(memory.is_untouched());
}

#[test]
fn a_page_stays_claimed_until_a_copy_means_another_or_the_batch_ends() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    domains[0].grant(2, 1, 4, GrantEntryFlags::empty());
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
    let mut copier = Copier::new(&domains[1], &memory);
    for _ in 0..3 {
        assert_eq!(copier.copy(&copy_request(0, 1, 8), find), Ok(()));
        assert_eq!((memory.count(2), memory.count(8)), ((1, 0), (1, 1)));
    }
    // A refused copy costs the others nothing.
    assert!(copier.copy(&copy_request(0, 3, 8), find).is_err());
    assert_eq!(copier.copy(&copy_request(0, 2, 8), find), Ok(()));
    assert_eq!((memory.count(2), memory.count(4)), ((0, 0), (1, 0)));
    drop(copier);
    assert!(memory.is_untouched());
    assert_eq!((domains[0].flags(1), domains[0].flags(2)), (1, 1));
}

#[test]
fn two_domains_that_take_turns_are_looked_up_once_each() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(1, 1, 2, GrantEntryFlags::empty());
    domains[1].grant(1, 1, 9, GrantEntryFlags::empty());
    let looks = Cell::new(0);
    let find = |arg: DomIdArg| {
        looks.set(looks.get() + 1);
        domains.get(usize::from(arg.get())).cloned()
    };
    let mut copier = Copier::new(&domains[1], &memory);
    for granter in [0, 1, 0, 1, 1, 0] {
        let copied = copier.copy(&copy_request(granter, 1, 8), find);
        assert_eq!(copied, Ok(()));
    }
    assert_eq!(looks.get(), 2);
    assert!(copier.copy(&copy_request(7, 1, 8), find).is_err());
    drop(copier);
    assert!(memory.is_untouched());
}

#[test]
fn the_same_number_as_a_frame_and_as_a_reference_are_two_pages() {
    let (memory, domains) = (Memory::default(), domains(1));
    domains[0].grant(2, 1, 2, GrantEntryFlags::empty());
    let find = |arg: DomIdArg| domains.get(usize::from(arg.get())).cloned();
    let mut copier = Copier::new(&domains[1], &memory);
    assert_eq!(copier.copy(&copy_request(0, 2, 8), find), Ok(()));
    let by_frame = GrantCopy {
        flags: 0,
        ..copy_request(0, 2, 8)
    };
    let refused = copier.copy(&by_frame, find).map_err(Refusal::status);
    assert_eq!(refused, Err(GrantStatus::PermissionDenied));
}
