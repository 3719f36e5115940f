//! LZ4's old frame: a magic number, then blocks of up to 8 MiB, each behind its packed length.
//!
//! There is no mark at the end. In a kernel the last four bytes are the unpacked length, which
//! is the end's only sign.

use super::{Decoder, DecompressError, Output, take};

/// Unpacked length of every block but the last.
const BLOCK: usize = 8 << 20;
/// The magic number may come again: frames behind each other are one.
const MAGIC: u32 = 0x184c_2102;

pub(super) struct Lz4<'a> {
    input: &'a [u8],
}

impl<'a> Lz4<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> Result<Self, DecompressError> {
        take::<4>(&mut input)?;
        Ok(Self { input })
    }
}

impl Decoder for Lz4<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        // Nothing or the trailer is left.
        if self.input.len() <= 4 {
            return Ok(true);
        }
        let length = u32::from_le_bytes(*take(&mut self.input)?);
        if length == MAGIC {
            return Ok(false);
        }
        let length = usize::try_from(length).map_err(|_| DecompressError::Corrupt)?;
        if length > lz4_flex::block::get_maximum_output_size(BLOCK) {
            return Err(DecompressError::Corrupt);
        }
        let block = self.input.get(..length).ok_or(DecompressError::Truncated)?;
        self.input = self.input.get(length..).unwrap_or_default();
        // What is free should do, if the length was known; only the last block is shorter.
        let free = out.free().min(BLOCK);
        match unpack(block, out, free) {
            Err(Failure::NoRoom) => {}
            Err(Failure::Other(error)) => return Err(error),
            Ok(()) => return Ok(false),
        }
        let before = out.len();
        match unpack(block, out, BLOCK) {
            Err(Failure::Other(error)) => Err(error),
            // It has all the room that a block may take, up to the limit.
            Err(Failure::NoRoom) => Err(out.too_long(before + BLOCK)),
            Ok(()) => Ok(false),
        }
    }
}

/// Why a block wasn't unpacked.
enum Failure {
    NoRoom,
    Other(DecompressError),
}

fn unpack(block: &[u8], out: &mut Output, room: usize) -> Result<(), Failure> {
    let mut no_room = false;
    let unpacked = out.extend_within(room, |to| {
        lz4_flex::block::decompress_into(block, to)
            .map(|written| (written, ()))
            .map_err(|error| {
                no_room = matches!(
                    error,
                    lz4_flex::block::DecompressError::OutputTooSmall { .. }
                );
                DecompressError::Corrupt
            })
    });
    match unpacked {
        Err(_) if no_room => Err(Failure::NoRoom),
        other => other.map_err(Failure::Other),
    }
}
