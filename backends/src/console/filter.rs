//! A guest's bytes made harmless for an operator's terminal.

use alloc::string::String;

/// Text in which nothing moves a cursor, changes a title or answers a query: escape sequences
/// and control characters are gone, lines and tabs stay, bytes that are no text become `?`.
pub fn plain(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut state = State::Text;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            state = state.step(character, &mut out);
        }
        if !chunk.invalid().is_empty() && state == State::Text {
            out.push('?');
        }
    }
    out
}

/// Where in an escape sequence we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// After ESC.
    Escape,
    /// In `ESC [ …`, which ends with a letter.
    Control,
    /// In `ESC ] …` and the like, which ends with BEL or `ESC \`; a line's end ends it as well,
    /// so that a guest can't make the rest of its log vanish.
    String,
}

impl State {
    fn step(self, character: char, out: &mut String) -> Self {
        match (self, character) {
            (_, '\u{1b}') => Self::Escape,
            (Self::Escape, '[') => Self::Control,
            (Self::Escape, ']' | 'P' | 'X' | '^' | '_') => Self::String,
            (Self::Escape, ' '..='/') => Self::Escape,
            (Self::Escape, _) => Self::Text,
            (Self::Control, '@'..='~') => Self::Text,
            (Self::Control, ' '..='?') => Self::Control,
            (Self::String, '\u{7}' | '\n') => {
                if character == '\n' {
                    out.push('\n');
                }
                Self::Text
            }
            (Self::String, _) => Self::String,
            (_, character) => {
                if !character.is_control() || matches!(character, '\n' | '\t') {
                    out.push(character);
                }
                Self::Text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays() {
        assert_eq!(plain("Grüße,\tWelt\r\n".as_bytes()), "Grüße,\tWelt\n");
    }

    #[test]
    fn escapes_go() {
        assert_eq!(
            plain(b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b(By\x1b]2;a\x1b\\z"),
            "red xyz"
        );
        assert_eq!(plain("\u{9b}31m\u{7f}".as_bytes()), "31m");
    }

    #[test]
    fn an_unfinished_sequence_hides_no_more_than_its_line() {
        assert_eq!(plain(b"a\x1b]0;never ends\nb"), "a\nb");
        assert_eq!(plain(b"a\x1b[12\nb"), "a\nb");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(plain(b"a\xff\xfeb"), "a??b");
    }
}
