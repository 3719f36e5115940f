//! What may come at the cursor: a verb first, then names of domains, or a verb's own words.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What the Tab key comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Nothing fits.
    Nothing,
    /// This goes in at the cursor.
    Insert(String),
    /// These fit; nothing can be added that all of them share.
    Choices(Vec<String>),
}

/// What a verb takes first, if it isn't a domain.
const OWN_WORDS: [(&str, &[&str]); 1] = [("backend-restart", &["blk", "net"])];

/// Completes the line up to the cursor.
#[must_use]
pub fn complete(before: &str, verbs: &[&str], domains: &[String]) -> Completion {
    let start = before.rfind(' ').map_or(0, |blank| blank + 1);
    let (done, word) = before.split_at(start);
    let mut words = done.split_whitespace();
    // The line may begin with the command's own name.
    let verb = words
        .next()
        .filter(|first| *first != "xl")
        .or_else(|| words.next());
    let candidates: Vec<String> = match verb {
        None => verbs.iter().map(ToString::to_string).collect(),
        Some("help") => verbs.iter().map(ToString::to_string).collect(),
        Some(verb) => match OWN_WORDS.iter().find(|(name, _)| *name == verb) {
            Some((_, own)) if words.next().is_none() => {
                own.iter().map(ToString::to_string).collect()
            }
            _ => domains.to_vec(),
        },
    };
    let fitting: Vec<String> = candidates
        .into_iter()
        .filter(|candidate| candidate.starts_with(word))
        .collect();
    let Some(first) = fitting.first() else {
        return Completion::Nothing;
    };
    if let [only] = fitting.as_slice() {
        let rest = only.get(word.len()..).unwrap_or_default();
        return Completion::Insert(format!("{rest} "));
    }
    let shared = fitting
        .iter()
        .fold(first.as_str(), |shared, other| common(shared, other));
    match shared.get(word.len()..) {
        Some(rest) if !rest.is_empty() => Completion::Insert(rest.to_string()),
        _ => Completion::Choices(fitting),
    }
}

/// What both begin with.
fn common<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let length = same.map(|(character, _)| character.len_utf8()).sum();
    one.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tab(before: &str) -> Completion {
        let domains = ["Domain-0", "deb1", "deb2"].map(String::from);
        complete(
            before,
            &[
                "create",
                "console",
                "list",
                "domid",
                "domname",
                "backend-restart",
                "help",
            ],
            &domains,
        )
    }

    fn insert(text: &str) -> Completion {
        Completion::Insert(text.to_string())
    }

    #[test]
    fn verbs_come_first_and_domains_behind_them() {
        assert_eq!(tab("li"), insert("st "));
        assert_eq!(tab("xl li"), insert("st "));
        assert_eq!(
            tab("dom"),
            Completion::Choices(vec!["domid".into(), "domname".into()])
        );
        assert_eq!(tab("console d"), insert("eb"));
        assert_eq!(tab("console D"), insert("omain-0 "));
        assert_eq!(
            tab("console deb"),
            Completion::Choices(vec!["deb1".into(), "deb2".into()])
        );
        assert_eq!(tab("help cre"), insert("ate "));
        assert_eq!(tab("backend-restart n"), insert("et "));
        assert_eq!(tab("backend-restart net D"), insert("omain-0 "));
        assert_eq!(tab("nothing"), Completion::Nothing);
    }
}
