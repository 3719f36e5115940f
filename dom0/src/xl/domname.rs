//! `xl domname`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use guest_abi::DomId;

use super::args::Args;
use super::{Context, Outcome, Verb, failure};

pub(super) const VERB: Verb = Verb {
    name: "domname",
    usage: "ID",
    summary: "Show a domain's name",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let word = args.one(&VERB)?;
    let id = word.parse().map(DomId::new);
    let id = id.map_err(|_| failure(format!("Invalid domain id '{word}': it is a number")))?;
    let name = context.toolstack.name(id).ok_or_else(|| {
        failure(format!(
            "Can't get domain name of domain id '{word}', maybe this domain does not exist."
        ))
    })?;
    Ok(context.line(name).await?)
}
