//! xz, as the kernel's build writes it: LZMA2 behind the filter for x86 code.

use alloc::{boxed::Box, vec::Vec};

use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::{Decoder, DecompressError, MAX_WINDOW, Output, STEP};

pub(super) struct Xz<'a> {
    input: &'a [u8],
    decoder: Box<XzDecoder<'static>>,
}

impl<'a> Xz<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self {
            input,
            decoder: decoder(Vec::new()),
        }
    }

    /// Starts over with a dictionary as big as the file wants it. Nothing has been unpacked
    /// before it says so.
    fn start_with(&mut self, dictionary: u64) -> Result<(), DecompressError> {
        let size = usize::try_from(dictionary).map_err(|_| DecompressError::OutOfMemory)?;
        if size > MAX_WINDOW {
            return Err(DecompressError::OutOfMemory);
        }
        let mut dictionary = Vec::new();
        dictionary
            .try_reserve_exact(size)
            .map_err(|_| DecompressError::OutOfMemory)?;
        dictionary.resize(size, 0);
        self.decoder = decoder(dictionary);
        Ok(())
    }
}

/// A decoder that takes no memory but this.
fn decoder(dictionary: Vec<u8>) -> Box<XzDecoder<'static>> {
    let size = dictionary.len();
    XzDecoder::in_heap_with_alloc_dict(dictionary, size)
}

impl Decoder for Xz<'_> {
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError> {
        let mut wanted = None;
        let at_start = out.len() == 0;
        let Self { input, decoder } = self;
        let result = out.extend_with(STEP, |to| {
            let result = decoder.decode(input, to).map_err(|error| match error {
                XzError::NeedsLargerInputBuffer => DecompressError::Truncated,
                XzError::DictionaryTooLarge(size) => {
                    wanted = Some(size);
                    DecompressError::OutOfMemory
                }
                _ => DecompressError::Corrupt,
            })?;
            *input = input.get(result.input_consumed()..).unwrap_or_default();
            match result {
                XzNextBlockResult::EndOfStream(_, written) => Ok((written, true)),
                _ if !result.made_progress() => Err(DecompressError::Truncated),
                XzNextBlockResult::NeedMoreData(_, written) => Ok((written, false)),
            }
        });
        match wanted {
            Some(size) if at_start => self.start_with(size).map(|()| false),
            _ => result,
        }
    }
}
