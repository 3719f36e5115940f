//! The first line of a stream: how many bytes the client wants.

/// What has come of the line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    number: u64,
    /// Something else than a number came.
    odd: bool,
    ended: bool,
}

impl Line {
    /// Takes bytes up to the line's end; how many.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' => {
                    self.ended = true;
                    return index + 1;
                }
                b'0'..=b'9' => self.add(byte - b'0'),
                b' ' | b'\r' => {}
                _ => self.odd = true,
            }
        }
        bytes.len()
    }

    fn add(&mut self, digit: u8) {
        let number = self.number.checked_mul(10);
        let number = number.and_then(|number| number.checked_add(digit.into()));
        self.odd |= number.is_none();
        self.number = number.unwrap_or(0);
    }

    /// No more will come.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// The number, once the line has ended. What is none counts as zero.
    pub(crate) fn wanted(&self) -> Option<u64> {
        self.ended.then_some(if self.odd { 0 } else { self.number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_come_in_pieces_and_what_follows_is_left() {
        let mut line = Line::default();
        assert_eq!((line.feed(b"13"), line.wanted()), (2, None));
        assert_eq!((line.feed(b"07\nabc"), line.wanted()), (3, Some(1307)));
    }

    #[test]
    fn a_line_that_is_no_number_wants_nothing() {
        for odd in [&b"\n"[..], b"x1\n", b"99999999999999999999\n", b"-1\n"] {
            let mut line = Line::default();
            assert_eq!(line.feed(odd), odd.len());
            assert_eq!(line.wanted(), Some(0));
        }
    }

    #[test]
    fn the_end_of_the_stream_ends_the_line() {
        let mut line = Line::default();
        line.feed(b"12");
        line.end();
        assert_eq!(line.wanted(), Some(12));
    }
}
