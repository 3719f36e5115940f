//! A disk's driver under load: patterns written and read back with many requests under way.
//!
//! It overwrites the disk. dom0 runs it when its command line says `disk-check=vdb`, and logs one
//! line: `disk-check vdb: ok, …` or `disk-check vdb: failed: …`.
//!
//! Each worker has a stretch of the disk to itself and remembers what it wrote to each block last,
//! so it knows what to expect at any time.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use backends::host::{Disk, DiskError, DiskRequest, Host, IoMemory, Piece};
use futures_util::future::join_all;
use guest_abi::PAGE_SIZE;

use super::Devices;

/// Workers, and what each does.
const WORKERS: u64 = 32;
const ROUNDS: u64 = 200;
/// The most blocks of 4 KiB in a request: more than fit into one of the device's.
const LONGEST: u64 = 300;
const SECTORS_IN_BLOCK: u64 = 8;
/// Reads one after the other, to see what one costs.
const SINGLE_READS: u64 = 1000;

/// What is counted on the way.
#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    blocks: u64,
}

/// Checks the disk of this name, and says how it went.
pub async fn disk_check(host: Rc<dyn Host>, devices: Rc<Devices>, name: String) {
    let Some(disk) = devices.disk(&name) else {
        log::error!("disk-check {name}: failed: there is no such disk");
        return;
    };
    match check(&*host, &*disk).await {
        Ok(text) => log::info!("disk-check {name}: ok, {text}"),
        Err(why) => log::error!("disk-check {name}: failed: {why}"),
    }
}

async fn check(host: &dyn Host, disk: &dyn Disk) -> Result<String, String> {
    let stretch = disk.geometry().sectors / SECTORS_IN_BLOCK / WORKERS;
    if stretch <= LONGEST {
        return Err(format!("it has less than {} blocks", WORKERS * LONGEST));
    }
    let start = host.now();
    let workers = (0..WORKERS).map(|number| work(host, disk, number * stretch, stretch));
    let mut total = Counts::default();
    for outcome in join_all(workers).await {
        let counts = outcome?;
        total.requests += counts.requests;
        total.blocks += counts.blocks;
    }
    let loaded = host.now() - start;
    let start = host.now();
    single_reads(host, disk, stretch * WORKERS).await?;
    let single = (host.now() - start) / SINGLE_READS;
    Ok(format!(
        "{} requests, {} MiB in {} ms; {single} ns for a 4 KiB read",
        total.requests,
        total.blocks / 256,
        loaded / 1_000_000
    ))
}

/// The round in which each block was written last, unless it was forgotten since.
type Expected = BTreeMap<u64, u64>;

async fn work(host: &dyn Host, disk: &dyn Disk, first: u64, blocks: u64) -> Result<Counts, String> {
    let count = usize::try_from(LONGEST).unwrap_or(0);
    let memory = host.pages(count).map_err(|errno| errno.name())?;
    let mut expected = Expected::new();
    let mut counts = Counts::default();
    let mut random = first ^ 0x9e37_79b9_7f4a_7c15;
    for round in 0..ROUNDS {
        let len = match next(&mut random) % 8 {
            0 => 1 + next(&mut random) % LONGEST,
            _ => 1 + next(&mut random) % 12,
        };
        let start = next(&mut random) % (blocks - len);
        let range = first + start..first + start + len;
        let sector = range.start * SECTORS_IN_BLOCK;
        counts.requests += 1;
        counts.blocks += len;
        let failed = |error: DiskError| format!("blocks {range:?}: {error}");
        match next(&mut random) % 16 {
            0 => run(disk, DiskRequest::Flush).await.map_err(failed)?,
            1 if disk.geometry().discard_granularity.is_some() => {
                let sectors = len * SECTORS_IN_BLOCK;
                let request = DiskRequest::Discard { sector, sectors };
                run(disk, request).await.map_err(failed)?;
                expected.retain(|block, _| !range.contains(block));
            }
            kind @ 2..9 => {
                for (block, page) in range.clone().zip(0..) {
                    fill(&*memory, page, block, round);
                    expected.insert(block, round);
                }
                let request = DiskRequest::Write {
                    sector,
                    pieces: pieces(&memory, len),
                    durable: kind == 2,
                };
                run(disk, request).await.map_err(failed)?;
            }
            _ => {
                let pieces = pieces(&memory, len);
                let request = DiskRequest::Read { sector, pieces };
                run(disk, request).await.map_err(failed)?;
                verify(&*memory, range, &expected)?;
            }
        }
    }
    Ok(counts)
}

async fn run(disk: &dyn Disk, request: DiskRequest) -> Result<(), DiskError> {
    let future = disk.submit(request);
    disk.kick();
    future.await
}

/// The first pages of a worker's memory; every third one in two halves.
fn pieces(memory: &Rc<dyn IoMemory>, pages: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for page in 0..usize::try_from(pages).unwrap_or(0) {
        let parts = if page % 3 == 0 { 2 } else { 1 };
        let len = PAGE_SIZE / parts;
        pieces.extend((0..parts).map(|part| Piece {
            memory: memory.clone(),
            offset: page * PAGE_SIZE + part * len,
            len,
        }));
    }
    pieces
}

fn fill(memory: &dyn IoMemory, page: usize, block: u64, round: u64) {
    let pattern = (block << 16 | round).to_le_bytes();
    for offset in (0..PAGE_SIZE).step_by(512) {
        memory.copy_to(page * PAGE_SIZE + offset, &pattern);
    }
}

fn verify(
    memory: &dyn IoMemory,
    range: core::ops::Range<u64>,
    expected: &Expected,
) -> Result<(), String> {
    for (block, page) in range.zip(0..) {
        let Some(round) = expected.get(&block) else {
            continue;
        };
        for offset in (0..PAGE_SIZE).step_by(512) {
            let mut bytes = [0; 8];
            memory.copy_from(page * PAGE_SIZE + offset, &mut bytes);
            let found = u64::from_le_bytes(bytes);
            if found != block << 16 | round {
                return Err(format!(
                    "block {block}+{offset}: wrote round {round}, found {found:#x}"
                ));
            }
        }
    }
    Ok(())
}

async fn single_reads(host: &dyn Host, disk: &dyn Disk, blocks: u64) -> Result<(), String> {
    let memory = host.pages(1).map_err(|errno| errno.name())?;
    let mut random = 1;
    for _ in 0..SINGLE_READS {
        let request = DiskRequest::Read {
            sector: next(&mut random) % blocks * SECTORS_IN_BLOCK,
            pieces: alloc::vec![Piece {
                memory: memory.clone(),
                offset: 0,
                len: PAGE_SIZE,
            }],
        };
        let outcome = run(disk, request).await;
        outcome.map_err(|error| format!("a single read: {error}"))?;
    }
    Ok(())
}

/// Xorshift: the same numbers at every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

#[cfg(test)]
mod tests {
    use super::check;
    use backends::host::fake::{FakeDisk, FakeHost};
    use futures_util::FutureExt;

    #[test]
    fn a_disk_passes_unless_it_fails() {
        let host = FakeHost::new();
        let disk = FakeDisk::new(96 * 1024);
        let text = check(&*host, &disk).now_or_never().unwrap().unwrap();
        assert!(text.starts_with("6400 requests"), "{text}");
        disk.failure
            .set(Some(backends::host::DiskError::OutOfRange));
        let error = check(&*host, &disk).now_or_never().unwrap().unwrap_err();
        assert!(error.contains("beyond the end"), "{error}");
    }
}
