//! A look at a ramdisk before a guest stumbles over it.
//!
//! The kernel itself unpacks its ramdisk, and a broken one shows as a panic minutes later. What
//! can be seen cheaply is seen here: plain archives are walked to their end, gzip is checked as a
//! whole, xz by its footer; other packings pass.

use core::fmt;

use super::decompress::{self, DecompressError, Format};
use crate::executor::Runtime;

/// Header of an archive's member, in hexadecimal digits.
const HEADER: usize = 110;

/// What is wrong with a ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamdiskError {
    /// Nothing at all.
    Empty,
    /// It ends before it should.
    Truncated,
    /// Its bytes contradict each other.
    Corrupt,
}

impl fmt::Display for RamdiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty: give a ramdisk with contents, or leave it out"),
            Self::Truncated => {
                f.write_str("truncated: the archive breaks off; copy the file again")
            }
            Self::Corrupt => {
                f.write_str("corrupt: the archive fails its checks; make the ramdisk anew")
            }
        }
    }
}

impl core::error::Error for RamdiskError {}

/// Checks a ramdisk as far as that is cheap.
///
/// # Errors
///
/// What is wrong with it.
pub async fn check(runtime: &Runtime, bytes: &[u8]) -> Result<(), RamdiskError> {
    if bytes.is_empty() {
        return Err(RamdiskError::Empty);
    }
    // Microcode comes as a plain archive in front of the packed one.
    let rest = skip_archives(bytes)?;
    match Format::detect(rest) {
        Some(Format::Gzip) => decompress::verify_gzip(runtime, rest)
            .await
            .map_err(|error| match error {
                DecompressError::Truncated => RamdiskError::Truncated,
                _ => RamdiskError::Corrupt,
            }),
        Some(Format::Xz) if !rest.trim_ascii_end().ends_with(b"YZ") => Err(RamdiskError::Truncated),
        _ => Ok(()),
    }
}

/// Walks plain archives; returns what follows them.
fn skip_archives(bytes: &[u8]) -> Result<&[u8], RamdiskError> {
    let mut rest = bytes;
    while rest.starts_with(b"070701") || rest.starts_with(b"070702") {
        rest = skip_archive(rest)?;
        let padding = rest
            .iter()
            .position(|&byte| byte != 0)
            .unwrap_or(rest.len());
        rest = rest.get(padding..).unwrap_or_default();
    }
    Ok(rest)
}

/// Walks one archive to behind its last member.
fn skip_archive(archive: &[u8]) -> Result<&[u8], RamdiskError> {
    let mut offset = 0_usize;
    loop {
        let member = archive.get(offset..).ok_or(RamdiskError::Truncated)?;
        if member.len() < HEADER {
            return Err(RamdiskError::Truncated);
        }
        if !member.starts_with(b"07070") {
            return Err(RamdiskError::Corrupt);
        }
        let (size, name_size) = (field(member, 54)?, field(member, 94)?);
        let name = member
            .get(HEADER..HEADER + name_size)
            .ok_or(RamdiskError::Truncated)?;
        let data = offset + (HEADER + name_size).next_multiple_of(4);
        let end = data.checked_add(size).ok_or(RamdiskError::Corrupt)?;
        if end > archive.len() {
            return Err(RamdiskError::Truncated);
        }
        offset = end.next_multiple_of(4);
        if name == b"TRAILER!!!\0" {
            return Ok(archive.get(offset..).unwrap_or_default());
        }
    }
}

/// A number of eight hexadecimal digits.
fn field(member: &[u8], offset: usize) -> Result<usize, RamdiskError> {
    let digits = member
        .get(offset..offset + 8)
        .ok_or(RamdiskError::Truncated)?;
    let text = core::str::from_utf8(digits).map_err(|_| RamdiskError::Corrupt)?;
    let number = u32::from_str_radix(text, 16).map_err(|_| RamdiskError::Corrupt)?;
    usize::try_from(number).map_err(|_| RamdiskError::Corrupt)
}
