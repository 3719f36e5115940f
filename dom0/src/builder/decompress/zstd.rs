//! Zstandard.

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::io::{Error, ErrorKind, Write};

use super::output::{Output, ask_for};
use super::{Decoder, DecompressError, MAX_WINDOW, STEP};

pub(super) struct Zstd<'a> {
    input: &'a [u8],
    decoder: FrameDecoder,
}

impl<'a> Zstd<'a> {
    pub(super) fn new(mut input: &'a [u8]) -> Result<Self, DecompressError> {
        let window = window_size(input)?;
        if window.is_some_and(|window| window > MAX_WINDOW) {
            return Err(DecompressError::OutOfMemory);
        }
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW as u64);
        decoder
            .init(&mut input)
            .map_err(|error| reason(&error, input))?;
        ask_for(peak(&decoder, window))?;
        Ok(Self { input, decoder })
    }
}

/// The window that a frame's header asks for; `None` when it is the whole content.
fn window_size(input: &[u8]) -> Result<Option<usize>, DecompressError> {
    let [_, _, _, _, descriptor, window, ..] = *input else {
        return Err(DecompressError::Truncated);
    };
    let single_segment = descriptor & 0x20 != 0;
    let base = 1_usize << (10 + (window >> 3));
    Ok((!single_segment).then_some(base + base / 8 * usize::from(window & 7)))
}

/// The most memory the decoder takes: it keeps a window in a buffer that doubles when it grows,
/// and doesn't ask whether there is any.
fn peak(decoder: &FrameDecoder, window: Option<usize>) -> usize {
    let content = usize::try_from(decoder.content_size()).unwrap_or(usize::MAX);
    let window = window.unwrap_or(content);
    // A header without the content's length says 0.
    let kept = if content > 0 {
        window.min(content)
    } else {
        window
    };
    let buffer = kept
        .saturating_add(2 * STEP)
        .checked_next_power_of_two()
        .unwrap_or(usize::MAX);
    buffer.saturating_add(buffer / 2)
}

/// Lets the decoder write into the output.
struct Sink<'a> {
    out: &'a mut Output,
    result: Result<(), DecompressError>,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.result = self.out.append(bytes);
        self.result
            .map(|()| bytes.len())
            .map_err(|_| Error::from(ErrorKind::Other))
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
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
        let mut sink = Sink {
            out,
            result: Ok(()),
        };
        let collected = self.decoder.collect_to_writer(&mut sink);
        sink.result?;
        collected.map_err(|_| DecompressError::Corrupt)?;
        let stated = self.decoder.get_checksum_from_data();
        if end && stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(DecompressError::Corrupt);
        }
        Ok(end)
    }
}
