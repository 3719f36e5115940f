//! A disk with a volatile cache, and a power supply that fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Poll;

use backends::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry};

type Sector = [u8; 512];

/// Numbers that look random.
#[derive(Debug)]
pub(super) struct Dice(Cell<u64>);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// One of `0..sides`.
    pub(super) fn roll(&self, sides: u64) -> u64 {
        // SplitMix64.
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }
}

/// The disk. What was written since the last flush is lost with the power, or not, or in part.
pub(super) struct CrashDisk {
    sectors: u64,
    durable: RefCell<BTreeMap<u64, Sector>>,
    /// Written and not flushed, in order.
    cached: RefCell<Vec<(u64, Sector)>>,
    /// What reads see.
    current: RefCell<BTreeMap<u64, Sector>>,
    /// Writes and flushes until the power fails.
    left: Cell<u64>,
    dead: Cell<bool>,
    /// How long the next request takes.
    delay: Cell<u64>,
    dice: Dice,
}

impl CrashDisk {
    pub(super) fn new(sectors: u64, seed: u64) -> Rc<Self> {
        Rc::new(Self {
            sectors,
            durable: RefCell::default(),
            cached: RefCell::default(),
            current: RefCell::default(),
            left: Cell::new(u64::MAX),
            dead: Cell::new(false),
            delay: Cell::new(0),
            dice: Dice::new(seed),
        })
    }

    /// The power fails during the write or flush that follows so many others.
    pub(super) fn fail_after(&self, left: u64) {
        self.left.set(left);
    }

    /// The next request takes so many turns.
    pub(super) fn delay_next(&self, turns: u64) {
        self.delay.set(turns);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// The disk as it is found when the power is back.
    pub(super) fn restart(&self, seed: u64) -> Rc<Self> {
        let mut image = self.durable.borrow().clone();
        for (sector, data) in self.cached.borrow().iter() {
            if self.dice.roll(2) == 0 {
                image.insert(*sector, *data);
            }
        }
        let disk = Self::new(self.sectors, seed);
        *disk.current.borrow_mut() = image.clone();
        *disk.durable.borrow_mut() = image;
        disk
    }

    fn flush(&self) {
        let mut durable = self.durable.borrow_mut();
        durable.extend(self.cached.borrow_mut().drain(..));
    }

    /// Whether the power fails now.
    fn fails(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        self.dead.set(self.dead.get() || left == 0);
        self.dead.get()
    }

    fn put(&self, sector: u64, data: Sector, durable: bool) {
        self.current.borrow_mut().insert(sector, data);
        let mut cached = self.cached.borrow_mut();
        if durable {
            cached.retain(|(other, _)| *other != sector);
            self.durable.borrow_mut().insert(sector, data);
        } else {
            cached.push((sector, data));
        }
    }

    fn run(&self, request: DiskRequest) -> Result<(), DiskError> {
        if self.is_dead() {
            return Err(DiskError::Io);
        }
        match request {
            DiskRequest::Read { mut sector, pieces } => {
                for piece in pieces {
                    for at in (0..piece.len).step_by(512) {
                        let current = self.current.borrow();
                        let data = current.get(&sector).copied().unwrap_or([0; 512]);
                        piece.write(at, &data);
                        sector += 1;
                    }
                }
                assert!(sector <= self.sectors, "a read beyond the disk");
            }
            DiskRequest::Write {
                mut sector,
                pieces,
                durable,
            } => {
                let fails = self.fails();
                for piece in pieces {
                    for at in (0..piece.len).step_by(512) {
                        let mut data = [0; 512];
                        piece.read(at, &mut data);
                        if !fails || self.dice.roll(2) == 0 {
                            self.put(sector, data, durable && !fails);
                        }
                        sector += 1;
                    }
                }
                assert!(sector <= self.sectors, "a write beyond the disk");
                if fails {
                    return Err(DiskError::Io);
                }
            }
            DiskRequest::Flush => {
                if self.fails() {
                    return Err(DiskError::Io);
                }
                self.flush();
            }
            DiskRequest::Discard { .. } => panic!("nobody asked for discards"),
        }
        Ok(())
    }
}

/// A handle on the disk; requests need one of their own.
pub(super) struct Handle(pub(super) Rc<CrashDisk>);

impl Disk for Handle {
    fn geometry(&self) -> Geometry {
        Geometry {
            sectors: self.0.sectors,
            sector_size: 512,
            physical_sector_size: 4096,
            read_only: false,
            discard_granularity: None,
        }
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        let disk = self.0.clone();
        // Now and then one takes its time.
        let longest = if disk.dice.roll(8) == 0 { 60 } else { 4 };
        let mut turns = disk.dice.roll(longest).max(disk.delay.take());
        let mut request = Some(request);
        // Requests overtake each other.
        Box::pin(std::future::poll_fn(move |context| {
            if turns > 0 {
                turns -= 1;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(disk.run(request.take().unwrap()))
        }))
    }
}
