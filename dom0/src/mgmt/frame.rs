//! How messages travel over a stream of bytes that may be cut anywhere.
//!
//! A frame is [`MAGIC`], then length and CRC-32 of the payload (both little endian), then the
//! payload: a message in `postcard`'s format. Either end may vanish in the middle of a frame and
//! come back: a new connection begins with [`preamble`], zeros enough to complete whatever frame
//! was cut, which then fails its checksum; the decoder drops it and finds the next one.

use alloc::{vec, vec::Vec};
use core::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::protocol::CHUNK_BYTES;

/// What every frame begins with.
pub const MAGIC: [u8; 4] = *b"\x02RMC";
/// The longest payload of a frame: a chunk, or a long command line.
pub const MAX_PAYLOAD: usize = CHUNK_BYTES + 64;

/// Magic, length, checksum.
const HEADER_BYTES: usize = 12;

/// A message too long for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its bytes, or at least so many.
    pub bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a message of {} bytes, where {MAX_PAYLOAD} are allowed",
            self.bytes
        )
    }
}

impl core::error::Error for TooLong {}

/// A message as a frame.
///
/// # Errors
///
/// [`TooLong`] if it does not fit: send streams in chunks of [`CHUNK_BYTES`].
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, TooLong> {
    let frame = vec![0; HEADER_BYTES];
    // These messages hold nothing that postcard could refuse.
    let mut frame = postcard::to_extend(message, frame).map_err(|_| TooLong { bytes: 0 })?;
    let (header, payload) = frame.split_at_mut(HEADER_BYTES);
    let bytes = payload.len();
    let length = u32::try_from(bytes).map_err(|_| TooLong { bytes })?;
    if bytes > MAX_PAYLOAD {
        return Err(TooLong { bytes });
    }
    let checksum = crc32fast::hash(payload);
    let fields = [MAGIC, length.to_le_bytes(), checksum.to_le_bytes()];
    for (to, from) in header.iter_mut().zip(fields.iter().flatten()) {
        *to = *from;
    }
    Ok(frame)
}

/// What a new connection sends first: zeros that complete any frame cut short before.
#[must_use]
pub fn preamble() -> Vec<u8> {
    vec![0; HEADER_BYTES + MAX_PAYLOAD]
}

/// Finds the messages in a stream of bytes, whatever else is in it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are done with.
    done: usize,
    dropped: u64,
}

impl Decoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            done: 0,
            dropped: 0,
        }
    }

    /// Takes bytes off the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one; call it until there is none.
    pub fn next_message<M: DeserializeOwned>(&mut self) -> Option<M> {
        loop {
            match parse(self.buffer.get(self.done..).unwrap_or_default()) {
                Parsed::Message(message, bytes) => {
                    self.done += bytes;
                    return Some(message);
                }
                Parsed::Garbage(bytes) => {
                    self.done += bytes;
                    self.dropped = self.dropped.saturating_add(bytes as u64);
                }
                Parsed::Incomplete => return None,
            }
        }
    }

    /// How many bytes belonged to no message.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

enum Parsed<M> {
    /// A message, and the bytes of its frame.
    Message(M, usize),
    /// Bytes that belong to no frame.
    Garbage(usize),
    Incomplete,
}

fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Parsed<M> {
    let start = frame_start(bytes);
    if start > 0 {
        return Parsed::Garbage(start);
    }
    let (Some(length), Some(checksum)) = (word(bytes, 4), word(bytes, 8)) else {
        return Parsed::Incomplete;
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_PAYLOAD {
        return Parsed::Garbage(1);
    }
    let end = HEADER_BYTES + length;
    let Some(payload) = bytes.get(HEADER_BYTES..end) else {
        return Parsed::Incomplete;
    };
    // A frame that fails here may have swallowed the start of another: go on behind its magic.
    if crc32fast::hash(payload) != checksum {
        return Parsed::Garbage(1);
    }
    postcard::from_bytes(payload)
        .map_or(Parsed::Garbage(1), |message| Parsed::Message(message, end))
}

/// Where the first frame may begin: at the magic, or at a part of it that ends the bytes.
fn frame_start(bytes: &[u8]) -> usize {
    (0..bytes.len())
        .find(|&at| {
            let rest = bytes.get(at..).unwrap_or_default();
            rest.starts_with(&MAGIC) || MAGIC.starts_with(rest)
        })
        .unwrap_or(bytes.len())
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    word.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{SessionId, ToDom0, VERSION};
    use super::*;

    fn stdin(text: &[u8]) -> ToDom0 {
        ToDom0::Stdin {
            session: SessionId(7),
            bytes: text.to_vec(),
        }
    }

    fn all(decoder: &mut Decoder) -> Vec<ToDom0> {
        core::iter::from_fn(|| decoder.next_message()).collect()
    }

    #[test]
    fn messages_arrive_whole_however_the_stream_is_cut() {
        let sent = [
            stdin(b"one"),
            stdin(&[0; CHUNK_BYTES]),
            ToDom0::Hello { version: VERSION },
        ];
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|message| encode(message).unwrap())
            .collect();
        for step in [1, 7, 4096, stream.len()] {
            let mut decoder = Decoder::new();
            let mut received = Vec::new();
            for piece in stream.chunks(step) {
                decoder.push(piece);
                received.extend(all(&mut decoder));
            }
            assert_eq!(received, sent);
            assert_eq!(decoder.dropped(), 0);
        }
    }

    #[test]
    fn a_new_connection_is_heard_after_a_frame_cut_anywhere() {
        let cut = encode(&stdin(&[b'x'; 300])).unwrap();
        let hello = encode(&ToDom0::Hello { version: VERSION }).unwrap();
        for at in 0..cut.len() {
            let mut decoder = Decoder::new();
            decoder.push(&cut[..at]);
            assert_eq!(all(&mut decoder), []);
            decoder.push(&preamble());
            decoder.push(&hello);
            assert_eq!(
                all(&mut decoder),
                [ToDom0::Hello { version: VERSION }],
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_damaged_frame_is_dropped_and_the_next_one_found() {
        let mut stream = encode(&stdin(b"damaged")).unwrap();
        *stream.last_mut().unwrap() ^= 1;
        stream.extend(encode(&stdin(b"sound")).unwrap());
        let mut decoder = Decoder::new();
        decoder.push(&stream);
        assert_eq!(all(&mut decoder), [stdin(b"sound")]);
        assert!(decoder.dropped() > 0);
    }

    #[test]
    fn a_frame_that_claims_too_much_holds_nothing_up() {
        let mut stream = MAGIC.to_vec();
        stream.extend(u32::MAX.to_le_bytes());
        stream.extend([0; 4]);
        stream.extend(encode(&stdin(b"sound")).unwrap());
        let mut decoder = Decoder::new();
        decoder.push(&stream);
        assert_eq!(all(&mut decoder), [stdin(b"sound")]);
    }

    #[test]
    fn a_message_that_fits_no_frame_is_refused() {
        let long = stdin(&[0; MAX_PAYLOAD + 1]);
        assert!(encode(&long).is_err());
        assert!(encode(&stdin(&[0; CHUNK_BYTES])).is_ok());
    }
}
