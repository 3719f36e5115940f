//! `xl mem-max`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::mem_set::wanted;
use super::{Context, Outcome, Verb, failure};

pub(super) const VERB: Verb = Verb {
    name: "mem-max",
    usage: "DOMAIN MEM[b|k|m|g|t]",
    summary: "Set the most memory a domain may hold; MiB, unless there is a unit",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let (guest, kib) = wanted(&context, &VERB, words)?;
    let set = context.toolstack.set_max_memory(&guest, kib);
    set.map_err(|error| failure(format!("domain {}: {error}", guest.name())))
}
