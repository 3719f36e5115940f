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
        let limit = out.limit;
        out.extend_with(BLOCK, |to| {
            match lz4_flex::block::decompress_into(block, to) {
                Ok(written) => Ok((written, ())),
                // A block that doesn't fit is the limit's fault only if there was less room than it
                // may fill.
                Err(lz4_flex::block::DecompressError::OutputTooSmall { .. })
                    if to.len() < BLOCK =>
                {
                    Err(DecompressError::TooLong { limit })
                }
                Err(_) => Err(DecompressError::Corrupt),
            }
        })?;
        Ok(false)
    }
}
