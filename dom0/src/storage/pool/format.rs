//! What is written: superblocks, and operations in journal and checkpoint.
//!
//! Superblocks and journal records travel in a sealed envelope: a head with a CRC over all that
//! follows, then the payload, padded to whole blocks. Whatever is torn or older than the
//! superblock's generation is not there.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::layout::{BLOCK, Layout};
use super::map::Entry;

/// What a sealed envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A [`Superblock`].
    Superblock,
    /// Operations of the journal.
    Record,
}

impl Kind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Superblock => *b"RadonPl1",
            Self::Record => *b"RadonJn1",
        }
    }
}

/// The root of all metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Superblock {
    /// The pool's name.
    pub(super) name: String,
    /// Where its parts lie.
    pub(super) layout: Layout,
    /// Bytes of this generation's checkpoint.
    pub(super) checkpoint_len: u64,
    /// Their CRC.
    pub(super) checkpoint_crc: u32,
}

/// A layer: the blocks written to a volume since its last snapshot, over a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    /// Its number.
    pub(super) layer: u32,
    /// The volume whose newest layer it is.
    pub(super) name: String,
    /// The volume's size.
    pub(super) sectors: u64,
    /// A snapshot: nobody writes it again.
    pub(super) frozen: bool,
    /// What shows where nothing was written.
    pub(super) base: BaseName,
}

/// What lies under a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) enum BaseName {
    /// Zeros.
    Nothing,
    /// Another layer of the pool.
    Layer(u32),
    /// A disk, partition or file.
    Outside {
        /// As [`Storage::open`](crate::storage::Storage::open) takes it.
        spec: String,
        /// How big it was: a base of another size is another base.
        sectors: u64,
    },
}

/// A change. All are absolute: doing one twice is doing it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
    /// A layer is like this.
    Layer(Description),
    /// A layer and all its chunks are gone.
    Remove(u32),
    /// A chunk of a layer lies here.
    Map {
        /// The layer.
        layer: u32,
        /// The chunk's place in the volume.
        chunk: u32,
        /// Where it lies in the pool.
        entry: Entry,
    },
}

impl Op {
    /// Appends the operation's bytes.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        // Into memory that grows, nothing can fail.
        if let Ok(more) = postcard::to_extend(self, core::mem::take(bytes)) {
            *bytes = more;
        }
    }

    /// The operations that bytes stand for, up to the first that makes no sense.
    pub(super) fn decode(mut bytes: &[u8]) -> impl Iterator<Item = Result<Self, postcard::Error>> {
        core::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            let (op, rest) = match postcard::take_from_bytes(bytes) {
                Ok((op, rest)) => (Ok(op), rest),
                Err(error) => (Err(error), &[][..]),
            };
            bytes = rest;
            Some(op)
        })
    }
}

/// The head of an envelope:
///
/// ```text
///   0 magic  8 generation  16 sequence  24 length of the payload  28 CRC of all but itself
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The superblock's generation it belongs to.
    pub(super) generation: u64,
    /// Its place among the records of its generation.
    pub(super) sequence: u64,
    /// Bytes of the payload.
    pub(super) len: usize,
    crc: u32,
}

/// Bytes of a head.
pub(super) const HEAD: usize = 32;

impl Head {
    /// The head that bytes begin with, if they begin with one of this kind.
    pub(super) fn read(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let half = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        (*bytes.first_chunk::<8>()? == kind.magic()).then_some(())?;
        Some(Self {
            generation: word(8)?,
            sequence: word(16)?,
            len: usize::try_from(half(24)?).ok()?,
            crc: half(28)?,
        })
    }

    /// The payload of the envelope, if the whole of it is as it was sealed.
    pub(super) fn open<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let payload = bytes.get(HEAD..HEAD.checked_add(self.len)?)?;
        (envelope_crc(bytes.get(..28)?, payload) == self.crc).then_some(payload)
    }

    /// Bytes of the whole envelope, padding included.
    pub(super) fn size(&self) -> usize {
        sealed_size(self.len)
    }
}

/// Bytes of the envelope around a payload of `len` bytes.
pub(super) fn sealed_size(len: usize) -> usize {
    len.saturating_add(HEAD)
        .checked_next_multiple_of(BLOCK)
        .unwrap_or(usize::MAX)
}

/// Seals a payload.
pub(super) fn seal(kind: Kind, generation: u64, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sealed_size(payload.len()));
    bytes.extend_from_slice(&kind.magic());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&len.to_le_bytes());
    let crc = envelope_crc(&bytes, payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(sealed_size(payload.len()), 0);
    bytes
}

fn envelope_crc(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_damaged_byte_breaks_the_seal() {
        let sealed = seal(Kind::Record, 3, 9, b"payload");
        assert_eq!(sealed.len(), BLOCK);
        let open = |bytes: &[u8]| {
            let head = Head::read(Kind::Record, bytes)?;
            head.open(bytes).map(<[u8]>::to_vec)
        };
        assert_eq!(open(&sealed).unwrap(), b"payload");
        for at in 0..HEAD + 7 {
            let mut damaged = sealed.clone();
            damaged[at] ^= 0x10;
            assert_eq!(open(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn operations_are_read_back_up_to_the_first_damaged_one() {
        let ops = [
            Op::Remove(7),
            Op::Map {
                layer: u32::MAX,
                chunk: u32::MAX,
                entry: Entry::new(u32::MAX, u16::MAX),
            },
        ];
        let mut bytes = Vec::new();
        ops.iter().for_each(|op| op.encode(&mut bytes));
        let read: Vec<Op> = Op::decode(&bytes).map(Result::unwrap).collect();
        assert_eq!(read, ops);
        bytes.push(99);
        assert!(Op::decode(&bytes).last().unwrap().is_err());
    }
}
