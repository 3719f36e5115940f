//! xenstore's messages: what comes, and what it means.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use guest_abi::io::xs_wire::MessageType;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The server's answer: an errno name, such as `ENOENT`.
    Refused(String),
    /// The server's answer makes no sense.
    Protocol,
    /// The request does not fit into a message.
    TooLong,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(name) => f.write_str(name),
            Self::Protocol => f.write_str("xenstore sent nonsense"),
            Self::TooLong => f.write_str("request too long"),
        }
    }
}

/// A watch fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What changed: as the watch named it, relative or absolute.
    pub path: String,
    /// The watch's token.
    pub token: String,
}

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: u32,
    /// The request it answers.
    pub request: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

/// Sorts an answer: payload, refusal or nonsense.
pub(super) fn answer(asked: MessageType, message: Message) -> Result<Vec<u8>, StoreError> {
    if message.kind == asked.number() {
        return Ok(message.payload);
    }
    if message.kind != MessageType::Error.number() {
        return Err(StoreError::Protocol);
    }
    let name = strings(&message.payload).into_iter().next();
    Err(name.map_or(StoreError::Protocol, StoreError::Refused))
}

/// Strings that each end with a NUL.
pub(super) fn strings(bytes: &[u8]) -> Vec<String> {
    let pieces = bytes
        .split(|&byte| byte == 0)
        .filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| String::from_utf8_lossy(piece).to_string())
        .collect()
}

/// A watch event's path and token.
pub(super) fn parse_event(payload: &[u8]) -> Option<WatchEvent> {
    let mut parts = strings(payload).into_iter();
    Some(WatchEvent {
        path: parts.next()?,
        token: parts.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_answer_becomes_its_name() {
        let message = Message {
            kind: MessageType::Error.number(),
            request: 1,
            payload: b"ENOENT\0".to_vec(),
        };
        let refused = StoreError::Refused("ENOENT".into());
        assert_eq!(answer(MessageType::Read, message), Err(refused));
    }

    #[test]
    fn an_answer_of_the_wrong_kind_is_nonsense() {
        let message = Message {
            kind: 99,
            request: 1,
            payload: Vec::new(),
        };
        assert_eq!(
            answer(MessageType::Read, message),
            Err(StoreError::Protocol)
        );
    }

    #[test]
    fn a_watch_event_names_its_path_and_its_token() {
        let event = parse_event(b"control/shutdown\0down\0").unwrap();
        assert_eq!((&*event.path, &*event.token), ("control/shutdown", "down"));
    }
}
