//! gzip: a header, a deflate stream, checksum and length.

use alloc::boxed::Box;

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::{Decoder, DecompressError, Output, STEP, take};

/// Bits of the header's flags.
const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

pub(super) struct Gzip<'a> {
    input: &'a [u8],
    state: Box<InflateState>,
    crc: crc32fast::Hasher,
    length: u64,
}

impl<'a> Gzip<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> Result<Self, DecompressError> {
        let [_, _, method, flags, ..] = *take::<10>(&mut input)?;
        if method != 8 {
            return Err(DecompressError::Corrupt);
        }
        if flags & EXTRA != 0 {
            let length = u16::from_le_bytes(*take(&mut input)?);
            input = input
                .get(usize::from(length)..)
                .ok_or(DecompressError::Truncated)?;
        }
        for flag in [NAME, COMMENT] {
            if flags & flag != 0 {
                let end = input.iter().position(|&byte| byte == 0);
                let rest = end.and_then(|end| input.get(end + 1..));
                input = rest.ok_or(DecompressError::Truncated)?;
            }
        }
        if flags & HEADER_CRC != 0 {
            take::<2>(&mut input)?;
        }
        let state = InflateState::new_boxed(DataFormat::Raw);
        Ok(Self {
            input,
            state,
            crc: crc32fast::Hasher::new(),
            length: 0,
        })
    }

    /// Checksum and length behind the stream.
    fn check_end(&mut self) -> Result<(), DecompressError> {
        let crc = u32::from_le_bytes(*take(&mut self.input)?);
        let stated = u32::from_le_bytes(*take(&mut self.input)?);
        // The format keeps the length's low 32 bits.
        let same_length = self.length & 0xffff_ffff == u64::from(stated);
        if same_length && crc == self.crc.clone().finalize() {
            Ok(())
        } else {
            Err(DecompressError::Corrupt)
        }
    }
}

impl Decoder for Gzip<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        let Self {
            input,
            state,
            crc,
            length,
        } = self;
        let end = out.extend_with(STEP, |to| {
            let result = inflate(state, input, to, MZFlush::None);
            *input = input.get(result.bytes_consumed..).unwrap_or_default();
            crc.update(to.get(..result.bytes_written).unwrap_or_default());
            *length += result.bytes_written as u64;
            match result.status {
                Ok(MZStatus::StreamEnd) => Ok((result.bytes_written, true)),
                Ok(_) if result.bytes_written > 0 => Ok((result.bytes_written, false)),
                Ok(_) | Err(MZError::Buf) => Err(DecompressError::Truncated),
                Err(_) => Err(DecompressError::Corrupt),
            }
        })?;
        if end {
            self.check_end()?;
        }
        Ok(end)
    }
}
