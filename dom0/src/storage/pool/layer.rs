//! Layers: what was written to a volume since its last snapshot, over a base.
//!
//! A read looks for each block in the newest layer, then in the one below, and so on down to an
//! image outside the pool, or to zeros:
//!
//! ```text
//!   volume web   ──▶ layer 7   · · X · · X · ·
//!   snapshot s1  ──▶ layer 3   · X X · · · · ·
//!   base image       outside   o o o o o o o o
//!                    ───────────────────────────
//!                    read      o X X o o X o o
//! ```

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::ops::Range;

use backends::host::Disk;

use super::format::{BaseName, Description};
use super::layout::CHUNK_SECTORS;
use super::map::{Entry, Map};

/// What shows where a layer holds nothing.
pub(in crate::storage) enum Base {
    /// Zeros.
    Nothing,
    /// A frozen layer.
    Layer(Rc<Layer>),
    /// An image outside the pool.
    Outside {
        /// Its name.
        spec: String,
        /// Its size.
        sectors: u64,
        /// The image, once somebody has opened it; kept, so that nobody writes it.
        disk: RefCell<Option<Rc<dyn Disk>>>,
    },
}

/// A layer.
pub(in crate::storage) struct Layer {
    pub(in crate::storage) number: u32,
    /// The volume whose newest layer it is.
    pub(super) name: RefCell<String>,
    pub(in crate::storage) sectors: Cell<u64>,
    pub(in crate::storage) frozen: Cell<bool>,
    pub(in crate::storage) base: Base,
    pub(super) map: RefCell<Map>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({}, {})", self.number, self.name.borrow())
    }
}

impl Layer {
    /// The layer that was described; `base` is what its name stands for.
    pub(super) fn new(description: &Description, base: Base, map: Map) -> Rc<Self> {
        Rc::new(Self {
            number: description.layer,
            name: RefCell::new(description.name.clone()),
            sectors: Cell::new(description.sectors),
            frozen: Cell::new(description.frozen),
            base,
            map: RefCell::new(map),
        })
    }

    /// The layer in the words of the metadata.
    pub(super) fn describe(&self) -> Description {
        Description {
            layer: self.number,
            name: self.name.borrow().clone(),
            sectors: self.sectors.get(),
            frozen: self.frozen.get(),
            base: match &self.base {
                Base::Nothing => BaseName::Nothing,
                Base::Layer(layer) => BaseName::Layer(layer.number),
                Base::Outside { spec, sectors, .. } => BaseName::Outside {
                    spec: spec.clone(),
                    sectors: *sectors,
                },
            },
        }
    }

    /// The lowest layer under this one, or itself.
    pub(in crate::storage) fn lowest(self: &Rc<Self>) -> Rc<Self> {
        let mut layer = self.clone();
        while let Base::Layer(below) = &layer.base {
            let below = below.clone();
            layer = below;
        }
        layer
    }

    /// The image under all layers, if there is one and it is open.
    pub(super) fn image(self: &Rc<Self>) -> Option<Rc<dyn Disk>> {
        let mut layer = &**self;
        loop {
            match &layer.base {
                Base::Layer(below) => layer = below,
                Base::Outside { disk, .. } => return disk.borrow().clone(),
                Base::Nothing => return None,
            }
        }
    }

    /// The entry of the chunk in which a sector lies.
    pub(super) fn entry(&self, sector: u64) -> Entry {
        self.map.borrow().get(chunk_of(sector))
    }

    /// Whether the layer itself holds the block of a sector.
    pub(super) fn holds(&self, sector: u64) -> bool {
        self.entry(sector).run(sector).0
    }

    /// Where sectors are to be read from.
    pub(super) fn plan_read(&self, range: Range<u64>) -> Plan {
        let mut plan = Plan::default();
        let mut at = range.start;
        while at < range.end {
            let (source, sector, end) = self.find(at, range.end);
            plan.push(source, sector, end - at);
            at = end;
        }
        plan
    }

    /// Where a sector is to be read from, and up to which one that goes on.
    fn find(&self, at: u64, end: u64) -> (Source, u64, u64) {
        let mut end = end;
        let mut layer = self;
        loop {
            let entry = layer.entry(at);
            let (here, until) = entry.run(at);
            end = end.min(until);
            if here {
                return (Source::Pool, entry.place(at), end);
            }
            let size = match &layer.base {
                Base::Nothing => return (Source::Zeros, 0, end),
                Base::Layer(below) => below.sectors.get(),
                Base::Outside { sectors, .. } => *sectors,
            };
            if at >= size {
                return (Source::Zeros, 0, end);
            }
            end = end.min(size);
            match &layer.base {
                Base::Layer(below) => layer = below,
                _ => return (Source::Base, at, end),
            }
        }
    }

    /// Where sectors are to be written to, if the layer holds all of their blocks.
    pub(super) fn plan_write(&self, range: Range<u64>) -> Option<Plan> {
        self.plan_where(range, |entry, part| {
            entry.holds(Entry::blocks(part.start, part.end - part.start))
        })
    }

    /// Where sectors are to be written to, if the layer has all of their chunks.
    pub(super) fn plan_mapped(&self, range: Range<u64>) -> Option<Plan> {
        self.plan_where(range, |entry, _| entry.is_mapped())
    }

    fn plan_where(
        &self,
        range: Range<u64>,
        good: impl Fn(Entry, &Range<u64>) -> bool,
    ) -> Option<Plan> {
        let map = self.map.borrow();
        let mut plan = Plan::default();
        for part in chunks(range) {
            let entry = map.get(chunk_of(part.start));
            if !good(entry, &part) {
                return None;
            }
            plan.push(Source::Pool, entry.place(part.start), part.end - part.start);
        }
        Some(plan)
    }
}

/// The number of the chunk of a sector. No volume has more chunks than numbers.
pub(super) fn chunk_of(sector: u64) -> u32 {
    u32::try_from(sector / CHUNK_SECTORS).unwrap_or(u32::MAX)
}

/// Sectors split at the borders of chunks.
pub(super) fn chunks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        let start = at;
        at = (at / CHUNK_SECTORS + 1)
            .saturating_mul(CHUNK_SECTORS)
            .min(range.end);
        (start < range.end).then_some(start..at)
    })
}

/// Where data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The pool's device.
    Pool,
    /// The image under all layers.
    Base,
    /// Nowhere.
    Zeros,
}

/// Sectors side by side on one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: Source,
    pub(super) sector: u64,
    pub(super) sectors: u64,
}

/// Where the data of a request lies, in its order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan(pub(super) Vec<Segment>);

impl Plan {
    /// Adds sectors, to the last segment if they go on there.
    fn push(&mut self, source: Source, sector: u64, sectors: u64) {
        if let Some(last) = self.0.last_mut()
            && last.source == source
            && (source == Source::Zeros || last.sector + last.sectors == sector)
        {
            last.sectors += sectors;
            return;
        }
        self.0.push(Segment {
            source,
            sector,
            sectors,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(base: Base, sectors: u64, entries: &[(u32, Entry)]) -> Rc<Layer> {
        let description = Description {
            layer: 1,
            name: "v".into(),
            sectors,
            frozen: false,
            base: BaseName::Nothing,
        };
        let mut map = Map::default();
        for &(chunk, entry) in entries {
            map.set(chunk, entry);
        }
        Layer::new(&description, base, map)
    }

    fn segments(plan: &Plan) -> Vec<(Source, u64, u64)> {
        let parts = plan.0.iter();
        parts
            .map(|part| (part.source, part.sector, part.sectors))
            .collect()
    }

    #[test]
    fn each_block_is_read_from_the_newest_layer_that_holds_it() {
        let outside = Base::Outside {
            spec: "x".into(),
            sectors: 20,
            disk: RefCell::default(),
        };
        let below = layer(outside, 100, &[(0, Entry::new(10, 0b0011))]);
        let top = layer(Base::Layer(below), 256, &[(0, Entry::new(20, 0b1010))]);
        assert_eq!(
            segments(&top.plan_read(0..256)),
            [
                (Source::Pool, 1280, 8),
                (Source::Pool, 2568, 8),
                (Source::Base, 16, 4),
                (Source::Zeros, 0, 4),
                (Source::Pool, 2584, 8),
                (Source::Zeros, 0, 224),
            ]
        );
    }

    #[test]
    fn chunks_that_are_neighbours_make_one_segment() {
        let full = u16::MAX;
        let entries = [(0, Entry::new(10, full)), (1, Entry::new(11, full))];
        let layer = layer(Base::Nothing, 384, &entries);
        let plan = layer.plan_write(120..136).unwrap();
        assert_eq!(segments(&plan), [(Source::Pool, 1400, 16)]);
        assert_eq!(layer.plan_write(250..257), None);
        assert_eq!(
            segments(&layer.plan_read(0..256)),
            [(Source::Pool, 1280, 256)]
        );
    }
}
