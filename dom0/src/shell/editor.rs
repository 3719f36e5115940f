//! The line being typed.
//!
//! Keys go in, bytes for the terminal come out, and now and then an [`Event`]. A line longer
//! than the screen is shown in part, around the cursor, so it never wraps.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::history::History;
use super::keys::{Key, Keys};

/// Columns of the terminal. A serial line can't be asked, and this is what they all have.
const COLUMNS: usize = 80;
/// Longest line.
const MAX_LINE: usize = 4096;

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This line done.
    Line(String),
    /// To be told what may come at the cursor.
    Complete,
}

/// A line editor.
#[derive(Debug)]
pub struct Editor {
    prompt: &'static str,
    line: Vec<char>,
    cursor: usize,
    keys: Keys,
    history: History,
}

impl Editor {
    /// An editor with an empty line.
    #[must_use]
    pub fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            line: Vec::new(),
            cursor: 0,
            keys: Keys::default(),
            history: History::default(),
        }
    }

    /// Shows the line anew.
    pub fn draw(&self, out: &mut Vec<u8>) {
        let width = COLUMNS - 1 - self.prompt.len();
        // The window ends at the cursor, unless all up to it fits.
        let start = self.cursor.saturating_sub(width);
        let shown: String = self.line.iter().skip(start).take(width).collect();
        let behind = self.line.len().min(start + width) - self.cursor;
        out.extend_from_slice(format!("\r{}{shown}\x1b[K", self.prompt).as_bytes());
        if behind > 0 {
            out.extend_from_slice(format!("\x1b[{behind}D").as_bytes());
        }
    }

    /// The line up to the cursor.
    #[must_use]
    pub fn before_cursor(&self) -> String {
        self.line.iter().take(self.cursor).collect()
    }

    /// Puts text in at the cursor.
    pub fn insert(&mut self, text: &str) {
        for character in text.chars() {
            if self.line.len() < MAX_LINE {
                self.line.insert(self.cursor, character);
                self.cursor += 1;
            }
        }
    }

    /// Takes a byte from the terminal; what it should show goes to `out`.
    pub fn feed(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        let key = self.keys.feed(byte)?;
        match key {
            Key::Enter => {
                out.extend_from_slice(b"\r\n");
                let line: String = core::mem::take(&mut self.line).into_iter().collect();
                self.cursor = 0;
                self.history.add(&line);
                return Some(Event::Line(line));
            }
            Key::Tab => return Some(Event::Complete),
            Key::Control('C') => {
                out.extend_from_slice(b"^C\r\n");
                self.replace(String::new());
            }
            Key::Control('L') => out.extend_from_slice(b"\x1b[H\x1b[2J"),
            Key::Char(character) => {
                self.insert(character.encode_utf8(&mut [0; 4]));
                if self.cursor == self.line.len() && self.line.len() < COLUMNS - self.prompt.len() {
                    // The common case costs one character, not a line.
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    return None;
                }
            }
            key => self.edit(key),
        }
        self.draw(out);
        None
    }

    fn edit(&mut self, key: Key) {
        match key {
            Key::Left | Key::Control('B') => self.cursor = self.cursor.saturating_sub(1),
            Key::Right | Key::Control('F') => self.cursor = (self.cursor + 1).min(self.line.len()),
            Key::Home | Key::Control('A') => self.cursor = 0,
            Key::End | Key::Control('E') => self.cursor = self.line.len(),
            Key::Up | Key::Control('P') => {
                let shown: String = self.line.iter().collect();
                if let Some(line) = self.history.older(&shown) {
                    self.replace(line);
                }
            }
            Key::Down | Key::Control('N') => {
                if let Some(line) = self.history.newer() {
                    self.replace(line);
                }
            }
            Key::Backspace => self.cut(self.cursor.saturating_sub(1), self.cursor),
            Key::Delete | Key::Control('D') => self.cut(self.cursor, self.cursor + 1),
            Key::Control('U') => self.cut(0, self.cursor),
            Key::Control('K') => self.cut(self.cursor, self.line.len()),
            Key::Control('W') => {
                let is_blank = |place: usize| self.line.get(place).is_some_and(|c| *c == ' ');
                let mut start = self.cursor;
                while start > 0 && is_blank(start - 1) {
                    start -= 1;
                }
                while start > 0 && !is_blank(start - 1) {
                    start -= 1;
                }
                self.cut(start, self.cursor);
            }
            Key::Char(_) | Key::Control(_) | Key::Enter | Key::Tab => {}
        }
    }

    fn replace(&mut self, line: String) {
        self.line = line.chars().collect();
        self.cursor = self.line.len();
    }

    fn cut(&mut self, from: usize, to: usize) {
        let to = to.min(self.line.len());
        if from < to {
            self.line.drain(from..to);
            self.cursor = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal of one row: what a person would see.
    #[derive(Default)]
    struct Screen {
        row: Vec<char>,
        column: usize,
    }

    impl Screen {
        fn show(&mut self, bytes: &[u8]) {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let mut rest = text.chars().peekable();
            while let Some(character) = rest.next() {
                match character {
                    '\r' => self.column = 0,
                    '\n' => self.row.clear(),
                    '\x1b' => {
                        assert_eq!(rest.next(), Some('['));
                        let mut number = String::new();
                        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                            number.push(digit);
                        }
                        match rest.next() {
                            Some('K') => self.row.truncate(self.column),
                            Some('D') => self.column -= number.parse::<usize>().unwrap(),
                            Some('H' | 'J') => (self.row, self.column) = (Vec::new(), 0),
                            other => panic!("sequence {other:?}"),
                        }
                    }
                    other => {
                        self.row.resize(self.row.len().max(self.column + 1), ' ');
                        self.row[self.column] = other;
                        self.column += 1;
                    }
                }
            }
        }
    }

    fn typed(keys: &str) -> (Editor, Screen, Vec<Event>) {
        let (mut editor, mut screen) = (Editor::new("> "), Screen::default());
        let mut out = Vec::new();
        editor.draw(&mut out);
        screen.show(&out);
        let mut events = Vec::new();
        for byte in keys.bytes() {
            let mut out = Vec::new();
            if let Some(event) = editor.feed(byte, &mut out) {
                events.push(event);
            }
            screen.show(&out);
        }
        (editor, screen, events)
    }

    /// The line and the cursor's column after some keys, as shown and as kept.
    fn line(keys: &str) -> (String, usize) {
        let (editor, screen, _) = typed(keys);
        let shown: String = screen.row.iter().skip(2).collect();
        let kept: String = editor.line.iter().collect();
        assert_eq!(shown.trim_end(), kept.trim_end());
        assert_eq!(screen.column, editor.cursor + 2);
        (kept, editor.cursor)
    }

    #[test]
    fn keys_move_and_change_as_people_expect() {
        for (keys, expected, cursor) in [
            ("list", "list", 4),
            ("lst\x1b[D\x1b[Di", "list", 2),
            ("ist\x01l", "list", 1),
            ("ist\x1b[Hl\x05!", "list!", 5),
            ("lisst\x1b[D\x7f", "list", 3),
            ("llist\x1b[1~\x1b[3~", "list", 0),
            ("destroy it\x17", "destroy ", 8),
            ("destroy  it  \x17\x17", "", 0),
            ("junk list\x1b[D\x1b[D\x1b[D\x1b[D\x15", "list", 0),
            ("list junk\x02\x02\x02\x02\x02\x0b", "list", 4),
            ("one\x03two", "two", 3),
            ("\u{e4}\u{20ac}x\x1b[D\x7f", "\u{e4}x", 1),
            ("a\x0cb", "ab", 2),
            ("\x1b[5~\x1b[1;5Cx", "x", 1),
        ] {
            assert_eq!(line(keys), (expected.to_owned(), cursor), "{keys:?}");
        }
    }

    #[test]
    fn enter_gives_the_line_once_whatever_ends_it() {
        for end in ["\r", "\n", "\r\n"] {
            let (_, _, events) = typed(&format!("list{end}info{end}"));
            assert_eq!(
                events,
                [Event::Line("list".into()), Event::Line("info".into())]
            );
        }
    }

    #[test]
    fn history_goes_back_and_forth_and_keeps_the_draft() {
        assert_eq!(line("one\rtwo\rdraft\x1b[A").0, "two");
        assert_eq!(line("one\rtwo\rdraft\x1b[A\x1b[A\x1b[A").0, "one");
        assert_eq!(line("one\rtwo\rdraft\x10\x10\x1b[B").0, "two");
        assert_eq!(line("one\rtwo\rdraft\x10\x10\x0e\x0e\x0e").0, "draft");
        assert_eq!(line("one\rone\r  \r\x10\x10").0, "one");
    }

    #[test]
    fn a_long_line_never_wraps() {
        let keys = "x".repeat(200);
        let (editor, screen, _) = typed(&keys);
        assert_eq!(editor.line.len(), 200);
        assert!(screen.column < COLUMNS && screen.row.len() < COLUMNS);
        let (_, screen, _) = typed(&format!("{keys}\x01"));
        assert_eq!(screen.column, 2);
        assert!(screen.row.len() < COLUMNS);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut editor = Editor::new("> ");
        let mut random = 1_u32;
        for _ in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let _ = editor.feed(random.to_be_bytes()[0], &mut Vec::new());
        }
    }
}
