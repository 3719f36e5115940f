//! Bytes from a terminal, put together to keys.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Control(char),
    Enter,
    Tab,
    Backspace,
    Delete,
    Left,
    Right,
    Up,
    Down,
    Home,
    End,
}

/// Where in a sequence we are.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Start,
    /// Behind a carriage return: a line feed now belongs to it.
    Return,
    /// Behind ESC.
    Escape,
    /// In `ESC [`, with the number so far.
    Bracket(u8),
    /// In `ESC O`.
    Letter,
    /// In a character of several bytes.
    Multi {
        bytes: [u8; 4],
        have: usize,
        want: usize,
    },
}

/// Puts keys together.
#[derive(Debug, Default)]
pub(super) struct Keys {
    state: State,
}

impl Keys {
    /// Takes the next byte; gives a key when one is complete.
    pub(super) fn feed(&mut self, byte: u8) -> Option<Key> {
        match core::mem::take(&mut self.state) {
            State::Return if byte == b'\n' => None,
            State::Start | State::Return => self.start(byte),
            State::Escape => {
                self.state = match byte {
                    b'[' => State::Bracket(0),
                    b'O' => State::Letter,
                    _ => State::Start,
                };
                None
            }
            State::Bracket(number) => match byte {
                b'0'..=b'9' => {
                    let number = number.saturating_mul(10).saturating_add(byte - b'0');
                    self.state = State::Bracket(number);
                    None
                }
                // Modifiers: what is behind them counts.
                b';' => {
                    self.state = State::Bracket(0);
                    None
                }
                b'~' => numbered(number),
                _ => lettered(byte),
            },
            State::Letter => lettered(byte),
            State::Multi {
                mut bytes,
                have,
                want,
            } => {
                if byte & 0xc0 != 0x80 {
                    return self.start(byte);
                }
                if let Some(slot) = bytes.get_mut(have) {
                    *slot = byte;
                }
                if have + 1 < want {
                    self.state = State::Multi {
                        bytes,
                        have: have + 1,
                        want,
                    };
                    return None;
                }
                let text = core::str::from_utf8(bytes.get(..want)?).ok()?;
                text.chars().next().map(Key::Char)
            }
        }
    }

    fn start(&mut self, byte: u8) -> Option<Key> {
        let multi = |want| State::Multi {
            bytes: [byte, 0, 0, 0],
            have: 1,
            want,
        };
        match byte {
            0x1b => self.state = State::Escape,
            b'\r' => {
                self.state = State::Return;
                return Some(Key::Enter);
            }
            b'\n' => return Some(Key::Enter),
            b'\t' => return Some(Key::Tab),
            0x08 | 0x7f => return Some(Key::Backspace),
            0..0x20 => return Some(Key::Control(char::from(byte + 0x40))),
            0x20..0x7f => return Some(Key::Char(char::from(byte))),
            0xc2..0xe0 => self.state = multi(2),
            0xe0..0xf0 => self.state = multi(3),
            0xf0..0xf5 => self.state = multi(4),
            _ => {}
        }
        None
    }
}

/// `ESC [ number ~`
fn numbered(number: u8) -> Option<Key> {
    match number {
        1 | 7 => Some(Key::Home),
        3 => Some(Key::Delete),
        4 | 8 => Some(Key::End),
        _ => None,
    }
}

/// `ESC [ letter` and `ESC O letter`
fn lettered(letter: u8) -> Option<Key> {
    match letter {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Right),
        b'D' => Some(Key::Left),
        b'H' => Some(Key::Home),
        b'F' => Some(Key::End),
        _ => None,
    }
}
