//! A volume: a name, its newest layer, and who is writing to it at the moment.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use backends::host::DiskError;
use backends::signal::Signal;

use super::layer::Layer;

/// Whether writers may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// The layer is about to change.
    Closed,
    /// The volume is gone.
    Gone,
}

/// A volume.
#[derive(Debug)]
pub(in crate::storage) struct Volume {
    layer: RefCell<Rc<Layer>>,
    gate: Cell<Gate>,
    writers: Cell<usize>,
    /// Blocks being written for the first time.
    busy: RefCell<Vec<Range<u64>>>,
    /// The gate, the writers or the busy blocks have changed.
    changed: Signal,
}

impl Volume {
    /// A volume with this newest layer.
    pub(super) fn new(layer: Rc<Layer>) -> Rc<Self> {
        Rc::new(Self {
            layer: RefCell::new(layer),
            gate: Cell::new(Gate::Open),
            writers: Cell::new(0),
            busy: RefCell::default(),
            changed: Signal::default(),
        })
    }

    /// The newest layer.
    pub(in crate::storage) fn layer(&self) -> Rc<Layer> {
        self.layer.borrow().clone()
    }

    /// Puts a new layer on top. Nobody may be writing.
    pub(super) fn replace_layer(&self, layer: Rc<Layer>) {
        *self.layer.borrow_mut() = layer;
    }

    /// Comes in to write, if that is possible at once.
    pub(super) fn try_enter(self: &Rc<Self>) -> Option<Writer> {
        (self.gate.get() == Gate::Open).then(|| {
            self.writers.set(self.writers.get() + 1);
            Writer(self.clone())
        })
    }

    /// Comes in to write. The layer stays the same meanwhile.
    pub(super) async fn enter(self: &Rc<Self>) -> Result<Writer, DiskError> {
        loop {
            let seen = self.changed.count();
            if let Some(writer) = self.try_enter() {
                return Ok(writer);
            }
            if self.gate.get() == Gate::Gone {
                return Err(DiskError::Io);
            }
            self.changed.after(seen).await;
        }
    }

    /// Keeps writers out, and waits until those inside have left.
    pub(super) async fn close(self: &Rc<Self>) -> Closed {
        while self.gate.get() == Gate::Closed {
            let seen = self.changed.count();
            self.changed.after(seen).await;
        }
        if self.gate.get() == Gate::Open {
            self.gate.set(Gate::Closed);
        }
        let closed = Closed(self.clone());
        while self.writers.get() > 0 {
            let seen = self.changed.count();
            self.changed.after(seen).await;
        }
        closed
    }

    /// Takes blocks for oneself, given as sectors.
    pub(super) async fn occupy(self: &Rc<Self>, blocks: Range<u64>) -> Busy {
        loop {
            let seen = self.changed.count();
            let overlaps =
                |other: &Range<u64>| blocks.start < other.end && other.start < blocks.end;
            if !self.busy.borrow().iter().any(overlaps) {
                break;
            }
            self.changed.after(seen).await;
        }
        self.busy.borrow_mut().push(blocks.clone());
        Busy {
            volume: self.clone(),
            blocks,
        }
    }
}

/// Somebody is writing.
#[derive(Debug)]
pub(super) struct Writer(Rc<Volume>);

impl Drop for Writer {
    fn drop(&mut self) {
        let volume = &self.0;
        volume.writers.set(volume.writers.get().saturating_sub(1));
        if volume.gate.get() != Gate::Open {
            volume.changed.notify();
        }
    }
}

/// Nobody is writing, until this is dropped.
#[derive(Debug)]
pub(super) struct Closed(Rc<Volume>);

impl Closed {
    /// The volume is gone: writers are turned away for ever.
    pub(super) fn gone(self) {
        self.0.gate.set(Gate::Gone);
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.0.gate.get() == Gate::Closed {
            self.0.gate.set(Gate::Open);
        }
        self.0.changed.notify();
    }
}

/// Blocks that one writer has for itself.
#[derive(Debug)]
pub(super) struct Busy {
    volume: Rc<Volume>,
    blocks: Range<u64>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.volume.busy.borrow_mut();
        if let Some(at) = busy.iter().position(|blocks| *blocks == self.blocks) {
            busy.swap_remove(at);
        }
        drop(busy);
        self.volume.changed.notify();
    }
}
