//! `xl network-attach`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Outcome, Verb, failure};
use crate::config::VifSpec;

pub(super) const VERB: Verb = Verb {
    name: "network-attach",
    usage: "DOMAIN [key=value…]",
    summary: "Plug a network into a domain; keys are those of `vif`, such as bridge=xenbr0",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let [domain, parts @ ..] = args.words.as_slice() else {
        return Err(wants(&VERB, 1));
    };
    let guest = context.guest(domain, VERB.name)?;
    let text = parts.join(",");
    let (spec, warnings) = VifSpec::parse(&text)
        .map_err(|error| failure(format!("vif (`{}`): {error}", text.escape_debug())))?;
    for warning in warnings {
        context.note(warning).await?;
    }
    let attached = context.toolstack.attach_vif(&guest, spec);
    attached.map(drop).map_err(failure)
}
