//! Reading a pool's metadata: the newest superblock, its checkpoint, and the records that
//! belong to it.
//!
//! What a loss of power can do leaves a pool that opens. Anything else that does not fit
//! together is damage: the pool is refused rather than guessed at.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use backends::host::DiskError;

use super::commit::Tail;
use super::format::{BaseName, Description, HEAD, Head, Kind, Op, Superblock};
use super::layer::{Base, Layer};
use super::layout::{BLOCK, CHUNK_SECTORS, Layout};
use super::map::{Entry, Map};
use super::space::Space;
use crate::storage::block::Bytes;

/// Why a pool cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) enum LoadError {
    /// There is none.
    NoPool,
    /// The device failed.
    Device(DiskError),
    /// The metadata do not fit together.
    Damaged(&'static str),
}

impl From<DiskError> for LoadError {
    fn from(error: DiskError) -> Self {
        Self::Device(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPool => f.write_str("there is no pool"),
            Self::Device(error) => error.fmt(f),
            Self::Damaged(what) => write!(f, "the pool is damaged: {what}"),
        }
    }
}

/// A pool as it was found.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) layout: Layout,
    pub(super) tail: Tail,
    pub(super) layers: BTreeMap<u32, Rc<Layer>>,
    pub(super) space: Space,
}

/// The newest superblock of a device and its generation.
pub(super) async fn superblock(bytes: &Bytes) -> Result<(u64, Superblock), LoadError> {
    let mut newest = None;
    for copy in 0..2 {
        let at = Layout::superblock(copy);
        if at + BLOCK as u64 > bytes.len() {
            return Err(LoadError::NoPool);
        }
        let block = bytes.read(at, BLOCK).await?;
        let found = Head::read(Kind::Superblock, &block)
            .and_then(|head| Some((head.generation, head.open(&block)?)))
            .and_then(|(generation, payload)| {
                Some((generation, postcard::from_bytes(payload).ok()?))
            });
        let age = |found: &Option<(u64, Superblock)>| found.as_ref().map(|(number, _)| *number);
        if age(&found) > age(&newest) {
            newest = found;
        }
    }
    newest.ok_or(LoadError::NoPool)
}

/// Reads all of a pool's metadata.
pub(super) async fn load(bytes: &Bytes) -> Result<Found, LoadError> {
    let (generation, superblock) = superblock(bytes).await?;
    let layout = superblock.layout;
    if !layout.is_sound(bytes.disk().geometry().sectors) {
        return Err(LoadError::Damaged("it is larger than its device"));
    }
    let mut tables = Tables::default();
    tables
        .apply(&checkpoint(bytes, generation, &superblock).await?)
        .map_err(|_| LoadError::Damaged("its checkpoint makes no sense"))?;
    let tail = replay(bytes, &layout, generation, &mut tables).await?;
    let space = tables.space(&layout)?;
    Ok(Found {
        name: superblock.name,
        layout,
        tail,
        layers: tables.link()?,
        space,
    })
}

async fn checkpoint(
    bytes: &Bytes,
    generation: u64,
    superblock: &Superblock,
) -> Result<Vec<u8>, LoadError> {
    let layout = &superblock.layout;
    let len = usize::try_from(superblock.checkpoint_len).unwrap_or(usize::MAX);
    if len as u64 > layout.checkpoint_len() {
        return Err(LoadError::Damaged("its checkpoint has no end"));
    }
    let all = bytes.read(layout.checkpoint_start(generation), len).await?;
    if crc32fast::hash(&all) != superblock.checkpoint_crc {
        return Err(LoadError::Damaged("its checkpoint is not what was written"));
    }
    Ok(all)
}

/// Applies the records of a generation up to the last whole one.
async fn replay(
    bytes: &Bytes,
    layout: &Layout,
    generation: u64,
    tables: &mut Tables,
) -> Result<Tail, LoadError> {
    let mut tail = Tail {
        generation,
        sequence: 0,
        position: 0,
    };
    loop {
        let room = layout.journal_len() - tail.position;
        let at = layout.journal_start() + tail.position;
        if room < BLOCK as u64 {
            return Ok(tail);
        }
        let first = bytes.read(at, HEAD).await?;
        let head = Head::read(Kind::Record, &first).filter(|head| {
            (head.generation, head.sequence) == (generation, tail.sequence)
                && head.size() as u64 <= room
        });
        let Some(head) = head else { return Ok(tail) };
        let record = bytes.read(at, HEAD + head.len).await?;
        let Some(payload) = head.open(&record) else {
            return Ok(tail);
        };
        tables
            .apply(payload)
            .map_err(|_| LoadError::Damaged("a record of its journal makes no sense"))?;
        tail.sequence += 1;
        tail.position += head.size() as u64;
    }
}

/// Metadata as they come out of the operations.
#[derive(Debug, Default)]
struct Tables {
    layers: BTreeMap<u32, (Description, Map)>,
}

impl Tables {
    fn apply(&mut self, bytes: &[u8]) -> Result<(), postcard::Error> {
        for op in Op::decode(bytes) {
            match op? {
                Op::Layer(description) => {
                    let number = description.layer;
                    let map = self.layers.remove(&number).map(|(_, map)| map);
                    let layer = (description, map.unwrap_or_default());
                    self.layers.insert(number, layer);
                }
                Op::Remove(number) => {
                    self.layers.remove(&number);
                }
                Op::Map {
                    layer,
                    chunk,
                    entry,
                } => self.map(layer, chunk, entry),
            }
        }
        Ok(())
    }

    /// A chunk beyond the end of its volume would only cost memory.
    fn map(&mut self, layer: u32, chunk: u32, entry: Entry) {
        if let Some((description, map)) = self.layers.get_mut(&layer)
            && u64::from(chunk) < description.sectors.div_ceil(CHUNK_SECTORS)
        {
            map.set(chunk, entry);
        }
    }

    /// The chunks that are in use.
    fn space(&self, layout: &Layout) -> Result<Space, LoadError> {
        let mut space = Space::new(layout.first_data()..layout.chunks);
        for (_, map) in self.layers.values() {
            for (_, entry) in map.iter() {
                if !space.claim(entry.chunk) {
                    return Err(LoadError::Damaged("two volumes have the same chunk"));
                }
            }
        }
        Ok(space)
    }

    /// The layers, each on its base, whose number is always lower.
    fn link(self) -> Result<BTreeMap<u32, Rc<Layer>>, LoadError> {
        let mut linked: BTreeMap<u32, Rc<Layer>> = BTreeMap::new();
        for (number, (description, map)) in self.layers {
            if let BaseName::Layer(below) = description.base
                && !linked.contains_key(&below)
            {
                return Err(LoadError::Damaged("a volume's base is missing"));
            }
            let base = base(&description.base, &linked);
            linked.insert(number, Layer::new(&description, base, map));
        }
        Ok(linked)
    }
}

/// What a base's name stands for; a layer must be there.
pub(super) fn base(name: &BaseName, layers: &BTreeMap<u32, Rc<Layer>>) -> Base {
    match name {
        BaseName::Nothing => Base::Nothing,
        BaseName::Layer(number) => layers
            .get(number)
            .map_or(Base::Nothing, |layer| Base::Layer(layer.clone())),
        BaseName::Outside { spec, sectors } => Base::Outside {
            spec: spec.clone(),
            sectors: *sectors,
            disk: RefCell::default(),
        },
    }
}
