//! What an operation costs, in ticks of the time-stamp counter.

use alloc::{format, string::String, vec::Vec};

use frontends::{
    blkfront::{Blkfront, Operation, Request, Segment, SubmitError},
    println, time,
};

use super::{Failed, Host};
use crate::random::Random;

/// What is measured: how many operations of which size.
struct Load {
    operation: Operation,
    pages: usize,
    random: bool,
    count: u64,
    depth: usize,
}

/// Measures, after a tenth of the operations to warm up.
pub(super) fn run(
    host: &Host,
    disk: &mut Blkfront,
    mode: &str,
    count: u64,
) -> Result<String, Failed> {
    let depth = host.number("depth").unwrap_or(1).clamp(1, 32);
    let load = Load {
        operation: match mode {
            "bench-write" => Operation::Write,
            _ => Operation::Read,
        },
        pages: if mode == "bench-seq" { 256 } else { 1 },
        random: mode != "bench-seq",
        count,
        depth: usize::try_from(depth).unwrap_or(1),
    };
    let warm = Load {
        count: count / 10 + 1,
        ..load
    };
    perform(disk, &warm)?;
    let (ticks, start) = (time::cycles(), time::now(super::verify::VCPU));
    perform(disk, &load)?;
    let ticks = time::cycles().wrapping_sub(ticks);
    let nanoseconds = (time::now(super::verify::VCPU) - start).max(1);
    let bytes = count * load.pages as u64 * 4096;
    println!(
        "{mode}: {count} operations of {} KiB, depth {depth}: {} ticks each, {} MB/s",
        load.pages * 4,
        ticks / count.max(1),
        bytes * 1000 / nanoseconds,
    );
    Ok(format!("{mode}={}", ticks / count.max(1)))
}

/// Runs a load; pages are kept from one operation to the next.
fn perform(disk: &mut Blkfront, load: &Load) -> Result<(), Failed> {
    let mut random = Random::new(7);
    let unit = load.pages as u64 * 8;
    let places = (disk.geometry().sectors / unit).max(1);
    let (mut sent, mut ended, mut in_flight) = (0, 0, 0);
    while ended < load.count {
        while in_flight < load.depth && sent < load.count {
            let place = if load.random {
                random.below(places)
            } else {
                sent % places
            };
            submit(disk, load, place * unit)?;
            sent += 1;
            in_flight += 1;
        }
        disk.kick();
        let mut any = false;
        while let Some(done) = disk.complete()? {
            any = true;
            done.result.map_err(|why| Failed(format!("{why}")))?;
            disk.recycle(done.request);
            in_flight -= 1;
            ended += 1;
        }
        if !any {
            disk.wait()?;
        }
    }
    Ok(())
}

/// Submits one operation.
fn submit(disk: &mut Blkfront, load: &Load, sector: u64) -> Result<(), Failed> {
    let count = load.pages.min(disk.geometry().max_segments);
    let segments: Result<Vec<_>, _> = (0..count)
        .map(|_| disk.page().map(Segment::whole))
        .collect();
    match disk.submit(Request::transfer(load.operation, sector, segments?)) {
        Ok(_) => Ok(()),
        Err(SubmitError::Busy(_)) => Err(Failed("the ring is smaller than depth".into())),
        Err(SubmitError::Invalid(_, why)) => Err(Failed(format!("{why}"))),
    }
}
