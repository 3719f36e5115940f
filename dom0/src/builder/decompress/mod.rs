//! Unpacking what kernels are packed with.
//!
//! One `Decoder` a format, each working in bounded steps, so that unpacking a big kernel
//! doesn't stop dom0's other tasks. The output goes straight into its final place; memory that
//! isn't there is an error, not the end of dom0.

mod bzip2;
mod gzip;
mod lz4;
mod lzma;
mod output;
mod xz;
mod zstd;

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::executor::Runtime;
use output::Output;

/// Bytes a decoder produces in one step, about.
const STEP: usize = 1 << 20;

/// Largest window or dictionary a packed file may ask for.
const MAX_WINDOW: usize = 128 << 20;

/// A way of packing, recognised by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The old format of LZMA.
    Lzma,
    /// xz, with the filter for x86 code.
    Xz,
    /// LZO, which is recognised but not unpacked.
    Lzo,
    /// The old frame of LZ4, which the kernel's build uses.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Format {
    /// The format that a file beginning with these bytes is in.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        let magics: [(&[u8], Self); 7] = [
            (b"\x1f\x8b", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\x5d\x00\x00", Self::Lzma),
            (b"\xfd7zXZ\x00", Self::Xz),
            (b"\x89LZO", Self::Lzo),
            (b"\x02\x21\x4c\x18", Self::Lz4),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        let found = magics.iter().find(|(magic, _)| bytes.starts_with(magic));
        found.map(|(_, format)| *format)
    }

    /// The name people know it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something could not be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecompressError {
    /// It ends too early.
    Truncated,
    /// Its bytes contradict each other.
    Corrupt,
    /// Its contents are longer than allowed.
    TooLong {
        /// The longest allowed, in bytes.
        limit: usize,
    },
    /// dom0 hasn't the memory for it.
    OutOfMemory,
    /// Not a format that is unpacked here.
    Unsupported,
}

impl fmt::Display for DecompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("truncated"),
            Self::Corrupt => f.write_str("corrupt"),
            Self::TooLong { limit } => write!(f, "unpacks to more than {} MiB", limit >> 20),
            Self::OutOfMemory => f.write_str("too big for dom0's memory"),
            Self::Unsupported => f.write_str("of an unsupported format"),
        }
    }
}

impl core::error::Error for DecompressError {}

/// Unpacks one file, step by step.
trait Decoder {
    /// Appends the next piece to `out`; says whether it was the last one.
    fn step(&mut self, out: &mut Output) -> Result<bool, DecompressError>;
}

/// Unpacks `input`. `expected` is a guess at the length, `limit` the most that is accepted.
///
/// # Errors
///
/// What is wrong with it.
pub async fn decompress(
    runtime: &Runtime,
    format: Format,
    input: &[u8],
    expected: usize,
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let mut output = Output::new(expected, limit)?;
    let mut decoder: Box<dyn Decoder + '_> = match format {
        Format::Gzip => Box::new(gzip::Gzip::new(input)?),
        Format::Bzip2 => Box::new(bzip2::Bzip2::new(input)?),
        Format::Lzma => Box::new(lzma::Lzma::new(input)?),
        Format::Xz => Box::new(xz::Xz::new(input)),
        Format::Lz4 => Box::new(lz4::Lz4::new(input)?),
        Format::Zstd => Box::new(zstd::Zstd::new(input)?),
        Format::Lzo => return Err(DecompressError::Unsupported),
    };
    while !decoder.step(&mut output)? {
        runtime.yield_now().await;
    }
    Ok(output.into_bytes())
}

/// Unpacks gzip without keeping anything: only to see whether it can be.
///
/// # Errors
///
/// What is wrong with it.
pub async fn verify_gzip(runtime: &Runtime, input: &[u8]) -> Result<(), DecompressError> {
    let mut decoder = gzip::Gzip::new(input)?;
    let mut scratch = Output::new(STEP, STEP)?;
    while !decoder.step(&mut scratch)? {
        scratch.clear();
        runtime.yield_now().await;
    }
    Ok(())
}

/// Splits off the first `N` bytes.
fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Result<&'a [u8; N], DecompressError> {
    let (first, rest) = input
        .split_first_chunk()
        .ok_or(DecompressError::Truncated)?;
    *input = rest;
    Ok(first)
}

#[cfg(test)]
mod tests;
