//! What is under way: futures in numbered places, each polled only when it has something to say.
//!
//! Every source of wake-ups has a number and a waker made once, so that a request costs no
//! allocation here and a wake-up no look at the others:
//!
//! ```text
//!   0 the end   1.. the rings' channels   then the places of requests
//! ```

use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

use crate::host::{DiskError, DiskFuture};

/// Words of the bitmap of sources.
const WORDS: usize = 4;
/// Sources of wake-ups there can be.
const SOURCES: usize = WORDS * 64;

/// Who has something to say.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    woken: [AtomicU64; WORDS],
    parent: AtomicWaker,
}

impl Wakes {
    /// Whom to wake when any source is woken.
    pub(super) fn register(&self, waker: &Waker) {
        self.parent.register(waker);
    }

    /// A waker for source number `index`.
    pub(super) fn source(self: &Arc<Self>, index: usize) -> Waker {
        let wakes = self.clone();
        Waker::from(Arc::new(Source { wakes, index }))
    }

    /// Whether anybody was woken.
    pub(super) fn any(&self) -> bool {
        self.woken
            .iter()
            .any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Takes the sources woken since the last time.
    pub(super) fn take(&self) -> impl Iterator<Item = usize> + use<> {
        let mut words = self
            .woken
            .each_ref()
            .map(|word| match word.load(Ordering::Relaxed) {
                0 => 0,
                _ => word.swap(0, Ordering::Acquire),
            });
        let mut current = 0;
        core::iter::from_fn(move || {
            loop {
                let word = words.get_mut(current)?;
                if *word == 0 {
                    current += 1;
                    continue;
                }
                let bit = usize::try_from(word.trailing_zeros()).unwrap_or(0);
                *word &= *word - 1;
                return Some(current * 64 + bit);
            }
        })
    }
}

/// One source.
struct Source {
    wakes: Arc<Wakes>,
    index: usize,
}

impl Wake for Source {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(word) = self.wakes.woken.get(self.index / 64) {
            word.fetch_or(1 << (self.index % 64), Ordering::Release);
            self.wakes.parent.wake();
        }
    }
}

/// A request of the disk's and what belongs to it.
struct Place<T> {
    waker: Waker,
    under_way: Option<(DiskFuture, T)>,
}

/// Requests under way, each with a `T` that comes back when it ends.
pub(super) struct Flight<T> {
    wakes: Arc<Wakes>,
    /// The number of the first place.
    base: usize,
    places: Vec<Place<T>>,
    free: Vec<usize>,
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flight({} under way)", self.len())
    }
}

impl<T> Flight<T> {
    /// Nothing under way; sources from `base` on are for requests.
    pub(super) fn new(wakes: Arc<Wakes>, base: usize) -> Self {
        Self {
            wakes,
            base,
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many more can be started.
    pub(super) fn room(&self) -> usize {
        SOURCES.saturating_sub(self.base + self.len())
    }

    /// Takes in a request, for which there must be room. Returns the source by which it is polled,
    /// for the first time when the disk was told of it.
    pub(super) fn start(&mut self, future: DiskFuture, of: T) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            let waker = self.wakes.source(self.base + self.places.len());
            let under_way = None;
            self.places.push(Place { waker, under_way });
            self.places.len() - 1
        });
        if let Some(place) = self.places.get_mut(index) {
            place.under_way = Some((future, of));
        }
        self.base + index
    }

    /// Polls the request of a source; returns it if it has ended.
    pub(super) fn poll(&mut self, source: usize) -> Option<Ended<T>> {
        let index = source.checked_sub(self.base)?;
        let place = self.places.get_mut(index)?;
        let mut context = Context::from_waker(&place.waker);
        let (future, _) = place.under_way.as_mut()?;
        let Poll::Ready(result) = future.as_mut().poll(&mut context) else {
            return None;
        };
        // The future goes first: with it the last hold on the guest's pages.
        let (_, of) = place.under_way.take()?;
        self.free.push(index);
        Some((result, of))
    }
}

/// How a request ended, and what belonged to it.
pub(super) type Ended<T> = (Result<(), DiskError>, T);
