//! A line, split into words: quotes keep blanks, a backslash keeps what follows it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A line that can't be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// A quote that doesn't end.
    OpenQuote(char),
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::OpenQuote(quote) = self;
        write!(f, "a {quote} lacks its partner")
    }
}

impl core::error::Error for WordsError {}

/// Splits a line.
///
/// # Errors
///
/// A quote that doesn't end.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().extend(rest.next());
            }
            (None, _) if character.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    match quote {
        Some(open) => Err(WordsError::OpenQuote(open)),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_by_a_shell() {
        for (line, words) in [
            ("  list  -l ", vec!["list", "-l"]),
            (
                "create name=\"a b\" extra='x \"y\"'",
                vec!["create", "name=a b", "extra=x \"y\""],
            ),
            ("a\\ b \"\" 'c\\d'", vec!["a b", "", "c\\d"]),
            ("", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert_eq!(split("a 'b"), Err(WordsError::OpenQuote('\'')));
    }
}
