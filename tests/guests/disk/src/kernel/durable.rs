//! Promises of durability, and whether they were kept.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

use frontends::{
    blkfront::{Blkfront, Operation, Request, Segment, SubmitError},
    println,
};

use super::{Failed, Host};
use crate::{
    model::SECTOR,
    numbered::{self, BLOCK_SECTORS},
    random::Random,
};

/// Slots in a round, unless the command line says otherwise.
const SLOTS: u64 = 1024;
/// The most blocks between two flushes.
const BATCH: u64 = 16;

fn slots(host: &Host, disk: &Blkfront) -> u64 {
    let room = disk.geometry().sectors / BLOCK_SECTORS;
    host.number("slots").unwrap_or(SLOTS).clamp(1, room.max(1))
}

/// Writes numbered blocks and flushes them, and says so after each flush.
pub(super) fn run(host: &Host, disk: &mut Blkfront) -> Result<String, Failed> {
    let slots = slots(host, disk);
    let first = newest(disk, slots)? + 1;
    let last = host.number("ops").map(|ops| first + ops);
    let mut random = Random::new(first);
    println!("durable first={first} slots={slots}");
    let mut next = first;
    while last.is_none_or(|last| next < last) {
        let count = 1 + random.below(BATCH.min(slots));
        write(disk, next..next + count, slots)?;
        disk.flush()?;
        next += count;
        println!("durable {}", next - 1);
    }
    Ok(format!("durable={}", next - 1))
}

/// Writes blocks, all of them in flight at once.
fn write(disk: &mut Blkfront, numbers: core::ops::Range<u64>, slots: u64) -> Result<(), Failed> {
    let mut open = BTreeSet::new();
    for number in numbers {
        let page = disk.page()?;
        for index in 0..BLOCK_SECTORS {
            let offset = usize::try_from(index).unwrap_or(0) * SECTOR;
            page.write(offset, &numbered::sector(number, index));
        }
        let sector = number % slots * BLOCK_SECTORS;
        let segments = Vec::from([Segment::whole(page)]);
        match disk.submit(Request::transfer(Operation::Write, sector, segments)) {
            Ok(id) => open.insert(id),
            Err(SubmitError::Busy(_)) => return Err(Failed("the ring is too small".into())),
            Err(SubmitError::Invalid(_, why)) => return Err(Failed(format!("{why}"))),
        };
    }
    disk.kick();
    while !open.is_empty() {
        disk.wait()?;
        while let Some(done) = disk.complete()? {
            done.result.map_err(|why| Failed(format!("{why}")))?;
            open.remove(&done.id);
            disk.recycle(done.request);
        }
    }
    Ok(())
}

/// The numbers of a slot's sectors.
fn numbers(disk: &mut Blkfront, slot: u64) -> Result<[Option<u64>; 8], Failed> {
    let mut bytes = [0; SECTOR * 8];
    disk.read(slot * BLOCK_SECTORS, &mut bytes)?;
    let (sectors, _) = bytes.as_chunks::<SECTOR>();
    let mut numbers = [None; 8];
    for ((index, sector), number) in (0..).zip(sectors).zip(&mut numbers) {
        *number = numbered::number_of(sector, index);
    }
    Ok(numbers)
}

/// The highest number on the disk.
fn newest(disk: &mut Blkfront, slots: u64) -> Result<u64, Failed> {
    let mut newest = 0;
    for slot in 0..slots {
        let found = numbers(disk, slot)?.into_iter().flatten().max();
        newest = newest.max(found.unwrap_or(0));
    }
    Ok(newest)
}

/// Holds the disk against the promise of `first=F` and `last=N`.
pub(super) fn check(host: &Host, disk: &mut Blkfront) -> Result<String, Failed> {
    let slots = slots(host, disk);
    let first = host.number("first").unwrap_or(1);
    let last = host.number("last").unwrap_or(0);
    let mut beyond = 0;
    for slot in 0..slots {
        let Some(expected) = numbered::expected(slot, slots, first, last) else {
            continue;
        };
        for (index, found) in numbers(disk, slot)?.into_iter().enumerate() {
            match found {
                Some(number) if number >= expected && number % slots == slot => {
                    beyond = beyond.max(number);
                }
                _ => {
                    return Err(Failed(format!(
                        "sector {index} of slot {slot}: {found:?}, promised was {expected}"
                    )));
                }
            }
        }
    }
    Ok(format!("durable={last} found={beyond}"))
}
