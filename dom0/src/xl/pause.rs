//! `xl pause`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "pause",
    usage: "DOMAIN",
    summary: "Stop a domain's vCPUs",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let domain = context.find_guest(args.one(&VERB)?, VERB.name)?;
    let outcome = context.toolstack.hypervisor().pause(domain);
    outcome.map_err(|errno| refused(VERB.name, errno))
}
