//! `xl reboot`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, shutdown};

pub(super) const VERB: Verb = Verb {
    name: "reboot",
    usage: "-a|DOMAIN",
    summary: "Ask a domain to reboot",
    options: &[
        ("-a", "Ask all domains"),
        ("-F", "Accepted for compatibility"),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    shutdown::ask(&context, &VERB, &args, "reboot").await
}
