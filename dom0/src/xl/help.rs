//! `xl help`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, VERBS, Verb, unknown};

pub(super) const VERB: Verb = Verb {
    name: "help",
    usage: "[VERB]",
    summary: "Show all verbs, or all about one",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

/// `xl -h`
pub(super) const DASH_H: Verb = Verb { name: "-h", ..VERB };
/// `xl --help`
pub(super) const DASH_DASH_HELP: Verb = Verb {
    name: "--help",
    ..VERB
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let text = match args.at_most_one(&VERB)? {
        None => all(),
        Some(name) => match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => one(verb),
            None => return Err(unknown(name)),
        },
    };
    Ok(context.stdio.out(text).await?)
}

fn all() -> String {
    let mut text = String::from("Usage: xl VERB [ARGUMENT…]\n\nVerbs:\n\n");
    for verb in VERBS.iter().filter(|verb| !verb.is_alias()) {
        text.push_str(&format!(" {:<15} {}\n", verb.name, verb.summary));
    }
    text.push_str("\n`xl help VERB` tells more.\n");
    text
}

fn one(verb: &Verb) -> String {
    let mut text = format!(
        "Usage: xl {} {}\n\n{}.\n",
        verb.name, verb.usage, verb.summary
    );
    if !verb.options.is_empty() {
        text.push_str("\nOptions:\n\n");
    }
    for (names, meaning) in verb.options {
        text.push_str(&format!(" {:<14} {meaning}\n", names.replace(' ', ", ")));
    }
    text
}
