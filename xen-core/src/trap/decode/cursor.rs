//! Reading an instruction byte by byte, never past its fifteenth.

use super::{DecodeError, MAX_LENGTH};

/// A position in the bytes of one instruction.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: u8,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read: the instruction's length at the end.
    pub(super) fn consumed(&self) -> u8 {
        self.at
    }

    /// The next byte. A sixteenth byte is not an instruction any more (#GP on hardware).
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let at = usize::from(self.at);
        if at >= MAX_LENGTH {
            return Err(DecodeError::Unknown);
        }
        let byte = *self.bytes.get(at).ok_or(DecodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// A signed byte, widened.
    pub(super) fn i8(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(i8::from_le_bytes(self.array()?)))
    }

    /// A signed 32-bit value, widened.
    pub(super) fn i32(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(i32::from_le_bytes(self.array()?)))
    }

    /// A 16-bit value.
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 64-bit value.
    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        for slot in &mut out {
            *slot = self.byte()?;
        }
        Ok(out)
    }
}
