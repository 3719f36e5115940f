//! Blocks of the file system, for a crate that reads synchronously.
//!
//! The crate is asked; when it wants a block that is not here it gets an error, the block is
//! fetched, and the crate is asked again.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::error::Error;
use core::fmt;

use ext4_view::{Ext4Error, Ext4Read};

use crate::storage::block::Bytes;

/// Bytes fetched at a time.
const LINE: u64 = 64 << 10;
/// Lines kept from one question to the next.
const KEPT: usize = 32;
/// Lines one question may need: as much as a journal that is to be replayed.
const MOST: usize = 1024;

/// Blocks that were read.
pub(super) struct Cache {
    bytes: Bytes,
    lines: RefCell<BTreeMap<u64, Vec<u8>>>,
    /// The line that somebody has missed.
    missing: Cell<Option<u64>>,
}

impl Cache {
    /// An empty cache.
    pub(super) fn new(bytes: Bytes) -> Rc<Self> {
        Rc::new(Self {
            bytes,
            lines: RefCell::default(),
            missing: Cell::new(None),
        })
    }

    /// What the crate reads from.
    pub(super) fn reader(self: &Rc<Self>) -> Box<dyn Ext4Read> {
        Box::new(Reader(self.clone()))
    }

    /// Asks until everything needed was there.
    pub(super) async fn run<T>(
        &self,
        mut ask: impl FnMut() -> Result<T, Ext4Error>,
    ) -> Result<T, Ext4Error> {
        self.trim();
        for _ in 0..MOST {
            self.missing.set(None);
            let result = ask();
            let Some(line) = self.missing.take().filter(|_| result.is_err()) else {
                return result;
            };
            let start = line * LINE;
            let len = LINE.min(self.bytes.len().saturating_sub(start));
            let len = usize::try_from(len).unwrap_or(0);
            let read = self.bytes.read(start, len).await;
            let bytes = read.map_err(|error| Ext4Error::Io(Box::new(error)))?;
            self.lines.borrow_mut().insert(line, bytes);
        }
        Err(Ext4Error::Io(Box::new(Missing)))
    }

    fn trim(&self) {
        let mut lines = self.lines.borrow_mut();
        while lines.len() > KEPT {
            lines.pop_last();
        }
    }

    /// Copies bytes out, if they are here.
    fn copy(&self, start: u64, into: &mut [u8]) -> Result<(), Missing> {
        let lines = self.lines.borrow();
        let mut done = 0;
        while done < into.len() {
            let at = start.checked_add(done as u64).ok_or(Missing)?;
            let line = lines.get(&(at / LINE)).ok_or_else(|| {
                self.missing.set(Some(at / LINE));
                Missing
            })?;
            let skip = usize::try_from(at % LINE).unwrap_or(usize::MAX);
            // A line cut short ends where the device ends.
            let from = line.get(skip..).filter(|from| !from.is_empty());
            let from = from.ok_or(Missing)?;
            let into = into.get_mut(done..).unwrap_or_default();
            let len = from.len().min(into.len());
            for (into, from) in into.iter_mut().zip(from) {
                *into = *from;
            }
            done += len;
        }
        Ok(())
    }
}

struct Reader(Rc<Cache>);

impl Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        self.0.copy(start, into).map_err(Into::into)
    }
}

/// A block is not here, or not on the device.
#[derive(Debug)]
struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it points beyond its device, or to too many places")
    }
}

impl Error for Missing {}
