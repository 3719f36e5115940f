//! Words of a command line: options first or anywhere, the rest in order.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Failure, Verb, failure};

/// What a verb was given.
#[derive(Debug, Default)]
pub(super) struct Args {
    options: Vec<String>,
    /// Words that are no options.
    pub(super) words: Vec<String>,
}

impl Args {
    /// Sorts words; an option the verb doesn't have is refused.
    pub(super) fn parse(verb: &Verb, words: Vec<String>) -> Result<Self, Failure> {
        let mut args = Self::default();
        for word in words {
            let known = |option: &str| verb.options.iter().any(|(names, _)| has(names, option));
            if word == "-" || !word.starts_with('-') {
                args.words.push(word);
            } else if known(&word) {
                args.options.push(word);
            } else if !word.starts_with("--")
                && word.chars().skip(1).all(|c| known(&format!("-{c}")))
            {
                // Single letters run together.
                args.options
                    .extend(word.chars().skip(1).map(|c| format!("-{c}")));
            } else {
                let name = verb.name;
                return Err(failure(format!(
                    "{name}: unknown option {word}; see `xl help {name}`"
                )));
            }
        }
        Ok(args)
    }

    /// Whether an option was given, in any of its spellings.
    pub(super) fn has(&self, names: &str) -> bool {
        self.options.iter().any(|option| has(names, option))
    }

    /// Exactly one word.
    pub(super) fn one(&self, verb: &Verb) -> Result<&str, Failure> {
        match self.words.as_slice() {
            [word] => Ok(word),
            _ => Err(wants(verb, 1)),
        }
    }

    /// One word or none.
    pub(super) fn at_most_one(&self, verb: &Verb) -> Result<Option<&str>, Failure> {
        match self.words.as_slice() {
            [] => Ok(None),
            [word] => Ok(Some(word)),
            _ => Err(wants(verb, 1)),
        }
    }
}

/// Whether `option` is among spellings separated by blanks.
fn has(names: &str, option: &str) -> bool {
    names.split(' ').any(|name| name == option)
}

/// The failure of a verb that was given the wrong number of words.
pub(super) fn wants(verb: &Verb, count: usize) -> Failure {
    let (name, usage) = (verb.name, verb.usage);
    let plural = if count == 1 { "" } else { "s" };
    failure(format!(
        "'xl {name}' requires {count} argument{plural}: xl {name} {usage}"
    ))
}
