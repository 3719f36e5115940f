//! `xl domid`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, failure};

pub(super) const VERB: Verb = Verb {
    name: "domid",
    usage: "NAME",
    summary: "Show a domain's id",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let name = args.one(&VERB)?;
    let found = context
        .toolstack
        .find(name)
        .filter(|domain| context.name(*domain) == name);
    let domain = found.ok_or_else(|| {
        failure(format!(
            "Can't get domid of domain name '{name}', maybe this domain does not exist."
        ))
    })?;
    Ok(context.line(format!("{domain}")).await?)
}
