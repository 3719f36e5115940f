//! Zstandard.

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Decoder, DecompressError, MAX_WINDOW, Output, STEP};

pub(super) struct Zstd<'a> {
    input: &'a [u8],
    decoder: FrameDecoder,
}

impl<'a> Zstd<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> Result<Self, DecompressError> {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW as u64);
        decoder
            .init(&mut input)
            .map_err(|error| reason(&error, input))?;
        Ok(Self { input, decoder })
    }
}

/// The decoder tells a short input from a bad one only by what is left of it.
fn reason(_: &FrameDecoderError, left: &[u8]) -> DecompressError {
    if left.is_empty() {
        DecompressError::Truncated
    } else {
        DecompressError::Corrupt
    }
}

impl Decoder for Zstd<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        let strategy = BlockDecodingStrategy::UptoBytes(STEP);
        let end = self
            .decoder
            .decode_blocks(&mut self.input, strategy)
            .map_err(|error| reason(&error, self.input))?;
        if let Some(bytes) = self.decoder.collect() {
            out.append(&bytes)?;
        }
        let stated = self.decoder.get_checksum_from_data();
        if end && stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(DecompressError::Corrupt);
        }
        Ok(end)
    }
}
