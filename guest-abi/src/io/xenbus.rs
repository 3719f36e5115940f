//! The states through which both ends of a device find each other.

wire_enum! {
    /// Where one end stands, as its `state` node says.
    pub enum XenbusState: u32 {
        Unknown = 0,
        /// The toolstack has made the nodes.
        Initialising = 1,
        /// The backend has told its features.
        InitWait = 2,
        /// The frontend has told its rings.
        Initialised = 3,
        Connected = 4,
        Closing = 5,
        Closed = 6,
        Reconfiguring = 7,
        Reconfigured = 8,
    }
}

impl XenbusState {
    /// The state a node's value means; anything else is [`Self::Unknown`].
    pub fn parse(value: &[u8]) -> Self {
        match value {
            [digit @ b'0'..=b'9'] => Self::from_number(u32::from(digit - b'0')),
            _ => None,
        }
        .unwrap_or(Self::Unknown)
    }

    /// The digit to write.
    pub const fn digit(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_was_written() {
        for &state in XenbusState::ALL {
            assert_eq!(XenbusState::parse(state.digit().as_bytes()), state);
        }
    }

    #[test]
    fn nonsense_is_the_unknown_state() {
        for value in [&b""[..], b"9", b"44", b"x", b"-1"] {
            assert_eq!(XenbusState::parse(value), XenbusState::Unknown);
        }
    }
}
