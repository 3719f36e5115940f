//! xz, as the kernel's build writes it: LZMA2 behind the filter for x86 code.

use alloc::boxed::Box;

use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::{Decoder, DecompressError, MAX_WINDOW, Output, STEP};

/// Dictionary to begin with; the decoder takes more when the file says so.
const FIRST_DICTIONARY: usize = 1 << 16;

pub(super) struct Xz<'a> {
    input: &'a [u8],
    decoder: Box<XzDecoder<'static>>,
}

impl<'a> Xz<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        let decoder = XzDecoder::in_heap_with_alloc_dict_size(FIRST_DICTIONARY, MAX_WINDOW);
        Self { input, decoder }
    }
}

impl Decoder for Xz<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        let Self { input, decoder } = self;
        out.extend_with(STEP, |to| {
            let result = decoder.decode(input, to).map_err(|error| match error {
                XzError::NeedsLargerInputBuffer => DecompressError::Truncated,
                _ => DecompressError::Corrupt,
            })?;
            *input = input.get(result.input_consumed()..).unwrap_or_default();
            match result {
                XzNextBlockResult::EndOfStream(_, written) => Ok((written, true)),
                _ if !result.made_progress() => Err(DecompressError::Truncated),
                XzNextBlockResult::NeedMoreData(_, written) => Ok((written, false)),
            }
        })
    }
}
