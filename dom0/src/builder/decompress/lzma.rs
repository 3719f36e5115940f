//! The old format of LZMA: a header of 13 bytes and a stream.

use lzma_rust2::{Error, LzmaReader, Read};

use super::output::{Output, ask_for};
use super::{Decoder, DecompressError, MAX_WINDOW, STEP};

pub(super) struct Lzma<'a> {
    reader: LzmaReader<&'a [u8]>,
}

fn reason(error: Error) -> DecompressError {
    match error {
        Error::Eof => DecompressError::Truncated,
        Error::OutOfMemory(_) => DecompressError::OutOfMemory,
        _ => DecompressError::Corrupt,
    }
}

impl<'a> Lzma<'a> {
    pub(super) fn new(input: &'a [u8]) -> Result<Self, DecompressError> {
        // The header: properties, then the dictionary's size, which the decoder takes unasked.
        let dictionary = input.get(1..).and_then(|rest| rest.first_chunk());
        let dictionary = u32::from_le_bytes(*dictionary.ok_or(DecompressError::Truncated)?);
        ask_for(
            usize::try_from(dictionary)
                .unwrap_or(usize::MAX)
                .min(MAX_WINDOW),
        )?;
        let limit_kib = u32::try_from(MAX_WINDOW >> 10).unwrap_or(u32::MAX);
        let reader = LzmaReader::new_mem_limit(input, limit_kib, None).map_err(reason)?;
        Ok(Self { reader })
    }
}

impl Decoder for Lzma<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        out.extend_with(STEP, |to| {
            let written = self.reader.read(to).map_err(reason)?;
            Ok((written, written == 0))
        })
    }
}
