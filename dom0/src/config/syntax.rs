//! The notation: `key = value`, where a value is a number, a string in quotes, or a list.
//!
//! ```text
//! # a comment
//! name = "hello"; memory = 256
//! disk = [ "phy:/dev/x,xvda,w",
//!          "…" ]
//! ```

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::iter::Peekable;
use core::str::Chars;

use super::{Complaint, Place};

/// How complaints name the command line.
pub(super) const COMMAND_LINE: &str = "command line";
/// Lists in lists, at most.
const MAX_DEPTH: usize = 8;

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In quotes.
    Text(String),
    /// Decimal, or hexadecimal with `0x`.
    Number(u64),
    /// In brackets.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "the string \"{text}\""),
            Self::Number(number) => write!(f, "the number {number}"),
            Self::List(_) => f.write_str("a list"),
        }
    }
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// What it is set to.
    pub value: Value,
    /// Where.
    pub place: Place,
}

/// Reads a file's text.
pub(super) fn parse(source: &str, text: &str) -> Result<Vec<Setting>, Complaint> {
    Parser {
        source,
        rest: text.chars().peekable(),
        line: 1,
    }
    .settings()
}

/// Reads one `key=value` of the command line.
pub(super) fn parse_argument(text: &str) -> Result<Setting, Complaint> {
    let place = || Place {
        source: COMMAND_LINE.into(),
        line: 0,
    };
    let complain = |text| Complaint {
        place: place(),
        text,
    };
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| complain(format!("`{text}` is neither a file nor key=value")))?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || !key.chars().all(is_key) {
        return Err(complain(format!("`{key}` is no key; write key=value")));
    }
    let looks_quoted = value.starts_with(['"', '\'', '[']) || parse_number(value).is_some();
    let value = if looks_quoted {
        let mut parser = Parser {
            source: COMMAND_LINE,
            rest: value.chars().peekable(),
            line: 0,
        };
        let value = parser.value(0)?;
        parser.skip_blank(true);
        if parser.rest.peek().is_some() {
            return Err(complain(format!(
                "there is something behind the value of `{key}`"
            )));
        }
        value
    } else {
        Value::Text(value.to_owned())
    };
    Ok(Setting {
        key: key.to_owned(),
        value,
        place: place(),
    })
}

fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

fn is_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

struct Parser<'a> {
    source: &'a str,
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Parser<'_> {
    fn settings(mut self) -> Result<Vec<Setting>, Complaint> {
        let mut all = Vec::new();
        loop {
            self.skip_separators();
            if self.rest.peek().is_none() {
                return Ok(all);
            }
            let place = self.place();
            let key = self.word();
            if key.is_empty() {
                let found = self.rest.peek().copied().unwrap_or(' ');
                return Err(self.complain(format!("expected a key, found `{found}`")));
            }
            self.skip_blank(false);
            if self.rest.next_if_eq(&'=').is_none() {
                return Err(self.complain(format!("expected `=` behind `{key}`")));
            }
            self.skip_blank(false);
            let value = self.value(0)?;
            self.skip_blank(false);
            if !matches!(self.rest.peek(), None | Some('\n' | ';' | '#')) {
                return Err(
                    self.complain(format!("there is something behind the value of `{key}`"))
                );
            }
            all.push(Setting { key, value, place });
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Complaint> {
        match self.rest.peek().copied() {
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some('[') if depth < MAX_DEPTH => self.list(depth),
            Some('[') => Err(self.complain("too many lists in each other".to_owned())),
            _ => {
                let word = self.word();
                parse_number(&word).map(Value::Number).ok_or_else(|| {
                    let found = if word.is_empty() {
                        "nothing".into()
                    } else {
                        format!("`{word}`")
                    };
                    self.complain(format!(
                        "expected a value, found {found}; text needs quotes"
                    ))
                })
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<Value, Complaint> {
        let start = self.place();
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(character) if character == quote => return Ok(Value::Text(text)),
                None | Some('\n') => {
                    let text = format!("the string that begins here lacks its closing {quote}");
                    return Err(Complaint { place: start, text });
                }
                Some('\\') => text.push(self.rest.next().unwrap_or('\\')),
                Some(character) => text.push(character),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Complaint> {
        let start = self.place();
        self.rest.next();
        let mut items = Vec::new();
        loop {
            self.skip_blank(true);
            match self.rest.peek() {
                None => {
                    let text = "the list that begins here lacks its closing ]".to_owned();
                    return Err(Complaint { place: start, text });
                }
                Some(']') => {
                    self.rest.next();
                    return Ok(Value::List(items));
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
            self.skip_blank(true);
            let comma = self.rest.next_if_eq(&',').is_some();
            if !comma && self.rest.peek().is_some_and(|next| *next != ']') {
                return Err(self.complain("expected `,` or `]` in the list".to_owned()));
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(character) = self.rest.next_if(|&character| is_key(character)) {
            word.push(character);
        }
        word
    }

    /// Skips blanks and comments, and the ends of lines if they mean nothing here.
    fn skip_blank(&mut self, lines: bool) {
        while let Some(&character) = self.rest.peek() {
            match character {
                '\n' if lines => self.line += usize::from(self.line > 0),
                '\n' => return,
                '#' => {
                    while self.rest.next_if(|&character| character != '\n').is_some() {}
                    continue;
                }
                _ if character.is_whitespace() => {}
                _ => return,
            }
            self.rest.next();
        }
    }

    fn skip_separators(&mut self) {
        loop {
            self.skip_blank(true);
            if self.rest.next_if_eq(&';').is_none() {
                return;
            }
        }
    }

    fn place(&self) -> Place {
        Place {
            source: self.source.to_owned(),
            line: self.line,
        }
    }

    fn complain(&self, text: String) -> Complaint {
        Complaint {
            place: self.place(),
            text,
        }
    }
}
