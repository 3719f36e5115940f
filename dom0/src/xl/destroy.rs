//! `xl destroy`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "destroy",
    usage: "DOMAIN",
    summary: "End a domain at once",
    options: &[("-f", "Accepted for compatibility")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let domain = context.find_guest(args.one(&VERB)?, VERB.name)?;
    let destroyed = context.toolstack.destroy(domain).await;
    destroyed.map_err(|errno| refused("destroying the domain", errno))
}
