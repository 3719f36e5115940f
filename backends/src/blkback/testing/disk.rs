//! A disk that ends requests when it is told to, and knows what would survive a loss of power.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::ops::Range;
use core::task::{Poll, Waker};

use crate::host::fake::FakeDisk;
use crate::host::{Disk, DiskError, DiskFuture, DiskRequest, Geometry, Piece, SECTOR_SIZE};

/// What the disk was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// First sector, and how many.
    Read(u64, u64),
    /// First sector, how many, and whether durably.
    Write(u64, u64, bool),
    /// All that was done.
    Flush,
    /// First sector, and how many.
    Discard(u64, u64),
}

impl Event {
    fn of(request: &DiskRequest) -> Self {
        let sectors = |pieces: &[Piece]| {
            let bytes: usize = pieces.iter().map(|piece| piece.len).sum();
            (bytes / SECTOR_SIZE) as u64
        };
        match request {
            DiskRequest::Read { sector, pieces } => Self::Read(*sector, sectors(pieces)),
            DiskRequest::Write {
                sector,
                pieces,
                durable,
            } => Self::Write(*sector, sectors(pieces), *durable),
            DiskRequest::Flush => Self::Flush,
            DiskRequest::Discard { sector, sectors } => Self::Discard(*sector, *sectors),
        }
    }
}

/// A request that was asked and has not ended.
struct Held {
    event: Event,
    work: Option<DiskFuture>,
    /// Contents when a flush was asked.
    covered: Contents,
    result: Option<Result<(), DiskError>>,
    waker: Option<Waker>,
}

/// Bytes, and for each sector the number of the request that last changed it.
#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    changed: Vec<u64>,
}

impl Contents {
    /// Takes over the sectors of `range` that `newer` has changed since.
    fn update(&mut self, newer: &Self, range: Range<usize>) {
        for sector in range {
            if newer.changed[sector] > self.changed[sector] {
                self.changed[sector] = newer.changed[sector];
                let bytes = sector * SECTOR_SIZE..(sector + 1) * SECTOR_SIZE;
                self.bytes[bytes.clone()].copy_from_slice(&newer.bytes[bytes]);
            }
        }
    }
}

#[derive(Default)]
struct State {
    held: Vec<Rc<RefCell<Held>>>,
    events: Vec<Event>,
    durable: Contents,
    /// When each sector was changed, and how many changes there were.
    changed: Vec<u64>,
    changes: u64,
}

/// A [`FakeDisk`] that holds requests back. Clones are the same disk.
#[derive(Clone)]
pub struct HeldDisk {
    /// What it holds.
    pub inner: FakeDisk,
    /// Requests wait for [`release`](Self::release).
    pub holding: Rc<Cell<bool>>,
    /// How often it was kicked.
    pub kicks: Rc<Cell<u32>>,
    /// It says that it looks at bytes, as no device does.
    pub looks: Rc<Cell<bool>>,
    state: Rc<RefCell<State>>,
}

impl fmt::Debug for HeldDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldDisk({} held)", self.held())
    }
}

impl HeldDisk {
    /// A disk that holds nothing back yet.
    #[must_use]
    pub fn new(inner: FakeDisk) -> Self {
        let bytes = inner.with_bytes(|bytes| bytes.clone());
        let changed = alloc::vec![0; bytes.len() / SECTOR_SIZE];
        let state = State {
            durable: Contents {
                bytes,
                changed: changed.clone(),
            },
            changed,
            ..State::default()
        };
        Self {
            inner,
            holding: Rc::default(),
            kicks: Rc::default(),
            looks: Rc::default(),
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// How many requests are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.state.borrow().held.len()
    }

    /// Everything asked since the last time.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        core::mem::take(&mut self.state.borrow_mut().events)
    }

    /// What would be there after a loss of power, at the least.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.state.borrow().durable.bytes.clone()
    }

    /// Ends request number `index` of those held.
    pub fn release(&self, index: usize) {
        let held = self.state.borrow_mut().held.remove(index);
        self.finish(&held);
        if let Some(waker) = held.borrow_mut().waker.take() {
            waker.wake();
        }
    }

    /// Ends all requests held.
    pub fn release_all(&self) {
        while self.held() > 0 {
            self.release(0);
        }
    }

    fn finish(&self, held: &RefCell<Held>) {
        let mut held = held.borrow_mut();
        let mut context = core::task::Context::from_waker(Waker::noop());
        let Some(Poll::Ready(result)) = held.work.take().map(|mut work| {
            let poll = work.as_mut().poll(&mut context);
            drop(work);
            poll
        }) else {
            return;
        };
        held.result = Some(result);
        if result.is_err() {
            return;
        }
        let event = held.event;
        self.state.borrow_mut().change(event);
        let now = self.contents();
        let mut state = self.state.borrow_mut();
        match event {
            Event::Flush => {
                let all = 0..held.covered.changed.len();
                state.durable.update(&held.covered, all);
            }
            Event::Write(sector, sectors, true) => {
                state.durable.update(&now, range(sector, sectors))
            }
            _ => {}
        }
    }

    fn contents(&self) -> Contents {
        Contents {
            bytes: self.inner.with_bytes(|bytes| bytes.clone()),
            changed: self.state.borrow().changed.clone(),
        }
    }
}

impl State {
    /// A request has changed the disk.
    fn change(&mut self, event: Event) {
        if let Event::Write(sector, sectors, _) | Event::Discard(sector, sectors) = event {
            self.changes += 1;
            self.changed[range(sector, sectors)].fill(self.changes);
        }
    }
}

fn range(sector: u64, sectors: u64) -> Range<usize> {
    let start = usize::try_from(sector).unwrap_or(usize::MAX);
    start..start + usize::try_from(sectors).unwrap_or(0)
}

impl Disk for HeldDisk {
    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn submit(&self, request: DiskRequest) -> DiskFuture {
        let event = Event::of(&request);
        let covered = match event {
            Event::Flush => self.contents(),
            _ => Contents::default(),
        };
        let held = Rc::new(RefCell::new(Held {
            event,
            work: Some(self.inner.submit(request)),
            covered,
            result: None,
            waker: None,
        }));
        let mut state = self.state.borrow_mut();
        state.events.push(event);
        if self.holding.get() {
            state.held.push(held.clone());
        } else {
            drop(state);
            self.finish(&held);
        }
        Box::pin(core::future::poll_fn(move |context| {
            let mut held = held.borrow_mut();
            held.waker = Some(context.waker().clone());
            held.result.map_or(Poll::Pending, Poll::Ready)
        }))
    }

    fn needs_bytes(&self) -> bool {
        self.looks.get()
    }

    fn kick(&self) {
        self.kicks.set(self.kicks.get() + 1);
    }
}
