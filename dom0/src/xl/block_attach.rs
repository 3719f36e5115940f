//! `xl block-attach`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Outcome, Verb, failure};
use crate::config::DiskSpec;

pub(super) const VERB: Verb = Verb {
    name: "block-attach",
    usage: "DOMAIN SPEC…",
    summary: "Plug a disk into a domain; a SPEC is as in `disk`, such as phy:/dev/vdb,xvdb,w",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let [domain, parts @ ..] = args.words.as_slice() else {
        return Err(wants(&VERB, 2));
    };
    if parts.is_empty() {
        return Err(wants(&VERB, 2));
    }
    let guest = context.guest(domain, VERB.name)?;
    let text = parts.join(",");
    let (spec, warnings) = DiskSpec::parse(&text)
        .map_err(|error| failure(format!("disk (`{}`): {error}", text.escape_debug())))?;
    for warning in warnings {
        context.note(warning).await?;
    }
    let attached = context.toolstack.attach_disk(&guest, spec).await;
    attached.map(drop).map_err(failure)
}
