//! The old format of LZMA: a header of 13 bytes and a stream.

use lzma_rust2::{Error, LzmaReader, Read};

use super::{Decoder, DecompressError, MAX_WINDOW, Output, STEP};

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
