//! Requests against a device that only counts what it is asked.

use alloc::rc::Rc;
use core::task::Waker;

use backends::host::fake::FakePage as Memory;
use backends::host::{IoMemory, Piece};

use super::*;
use crate::drivers::dma::fake::{FakePage, page_at};
use crate::drivers::ring::device::FakeDevice;

const LIMITS: Limits = Limits {
    segments: 16,
    segment_bytes: 1 << 20,
    discard_sectors: 100,
    has_cache: true,
};

struct Bench {
    queue: Queue<FakePage>,
    device: FakeDevice,
}

/// What the device was asked: command, sector, and the sizes of the data's segments.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    slot: u16,
    command: u64,
    sector: u64,
    sizes: Vec<u32>,
    status: u64,
}

impl Bench {
    fn new(size: u16, limits: Limits) -> Self {
        let queue = Queue::new(size, limits).unwrap();
        let device = FakeDevice::on(queue.ring());
        Self { queue, device }
    }

    fn asked(&mut self) -> Option<Asked> {
        let (slot, segments) = self.device.next()?;
        let [header, data @ .., status] = &*segments else {
            panic!("a header and a status at least");
        };
        let page = page_at(header.address);
        let offset = usize::try_from(header.address % 4096).unwrap();
        let word = |at| u64::from_le_bytes(page.bytes(at));
        assert!(status.device_writes && !header.device_writes);
        Some(Asked {
            slot,
            command: word(offset),
            sector: word(offset + 8),
            sizes: data.iter().map(|segment| segment.len).collect(),
            status: status.address,
        })
    }

    fn answer(&mut self, asked: &Asked, status: u8) {
        let offset = usize::try_from(asked.status % 4096).unwrap();
        page_at(asked.status).put(offset, &[status]);
        self.device.done(asked.slot, 0);
    }

    fn poll(&mut self, number: usize) -> Poll<Result<(), DiskError>> {
        let mut context = Context::from_waker(Waker::noop());
        self.queue.poll(number, &mut context)
    }
}

/// Pages that do not lie side by side, as pieces.
fn pieces(count: usize) -> Vec<Piece> {
    // Every other page of one stretch.
    let memory: Rc<dyn IoMemory> = Rc::new(Memory::with_pages(2 * count));
    let piece = |index| Piece {
        memory: memory.clone(),
        offset: index * 8192,
        len: 4096,
    };
    (0..count).map(piece).collect()
}

fn read(sector: u64, pieces: Vec<Piece>) -> DiskRequest {
    DiskRequest::Read { sector, pieces }
}

#[test]
fn a_long_request_goes_in_parts_and_ends_with_the_last() {
    let mut bench = Bench::new(8, LIMITS);
    let number = bench.queue.submit(read(100, pieces(20)));
    assert!(bench.queue.announce() && !bench.queue.announce());
    let first = bench.asked().unwrap();
    let second = bench.asked().unwrap();
    assert_eq!((first.sector, first.sizes.len()), (100, 16));
    assert_eq!((second.sector, second.sizes.len()), (100 + 16 * 8, 4));
    bench.answer(&second, 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Pending);
    bench.answer(&first, 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Ready(Ok(())));
}

#[test]
fn pieces_side_by_side_are_one_segment() {
    let mut bench = Bench::new(8, LIMITS);
    let memory: Rc<dyn IoMemory> = Rc::new(Memory::with_pages(3));
    let piece = |offset, len| Piece {
        memory: memory.clone(),
        offset,
        len,
    };
    let pieces = vec![piece(512, 3584), piece(4096, 4096), piece(8704, 512)];
    bench.queue.submit(read(0, pieces));
    assert_eq!(bench.asked().unwrap().sizes, [7680, 512]);
}

#[test]
fn what_finds_the_ring_full_waits_in_order() {
    let mut bench = Bench::new(2, LIMITS);
    let numbers: Vec<_> = (0..6)
        .map(|number| bench.queue.submit(read(number * 8, pieces(1))))
        .collect();
    for (sector, number) in (0..).step_by(8).zip(numbers) {
        let asked = bench.asked().unwrap();
        assert_eq!(asked.sector, sector);
        bench.answer(&asked, 0);
        bench.queue.collect();
        assert_eq!(bench.poll(number), Poll::Ready(Ok(())));
    }
    assert!(bench.asked().is_none());
}

#[test]
fn a_durable_write_ends_behind_its_flush() {
    let mut bench = Bench::new(8, LIMITS);
    let write = || DiskRequest::Write {
        sector: 8,
        pieces: pieces(1),
        durable: true,
    };
    let number = bench.queue.submit(write());
    let asked = bench.asked().unwrap();
    assert_eq!(asked.command, Command::Write as u64);
    assert!(bench.asked().is_none());
    bench.answer(&asked, 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Pending);
    let asked = bench.asked().unwrap();
    assert_eq!((asked.command, asked.sizes.len()), (4, 0));
    bench.answer(&asked, 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Ready(Ok(())));

    // A disk without cache has nothing to flush.
    let limits = Limits {
        has_cache: false,
        ..LIMITS
    };
    let mut bench = Bench::new(8, limits);
    let number = bench.queue.submit(write());
    let asked = bench.asked().unwrap();
    bench.answer(&asked, 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Ready(Ok(())));
}

#[test]
fn a_failed_part_fails_the_request_once_the_others_are_back() {
    let mut bench = Bench::new(2, LIMITS);
    let number = bench.queue.submit(read(0, pieces(50)));
    let parts = [bench.asked().unwrap(), bench.asked().unwrap()];
    bench.answer(&parts[0], 1);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Pending);
    bench.answer(&parts[1], 0);
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Ready(Err(DiskError::Io)));
    // The rest was never asked for.
    assert!(bench.asked().is_none());
}

#[test]
fn discards_are_split_and_may_be_unsupported() {
    let mut bench = Bench::new(8, LIMITS);
    let discard = || DiskRequest::Discard {
        sector: 5,
        sectors: 150,
    };
    let number = bench.queue.submit(discard());
    for _ in 0..2 {
        let asked = bench.asked().unwrap();
        assert_eq!((asked.command, asked.sizes.as_slice()), (11, &[16][..]));
        bench.answer(&asked, 0);
    }
    bench.queue.collect();
    assert_eq!(bench.poll(number), Poll::Ready(Ok(())));

    let limits = Limits {
        discard_sectors: 0,
        ..LIMITS
    };
    let mut bench = Bench::new(8, limits);
    let number = bench.queue.submit(discard());
    assert_eq!(bench.poll(number), Poll::Ready(Err(DiskError::Unsupported)));
}

#[test]
fn memory_is_kept_until_the_device_is_done_even_if_nobody_waits() {
    let mut bench = Bench::new(8, LIMITS);
    let pieces = pieces(1);
    let memory = Rc::downgrade(&pieces[0].memory);
    let number = bench.queue.submit(read(0, pieces));
    bench.queue.abandon(number);
    assert_eq!(memory.strong_count(), 1);
    let asked = bench.asked().unwrap();
    bench.answer(&asked, 0);
    bench.queue.collect();
    assert_eq!(memory.strong_count(), 0);
    assert!(bench.queue.tickets.is_empty());
}
