//! `xl cat`: a file of dom0's own file system.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, failure};

/// Longest file that is shown.
const LIMIT: u64 = 16 << 20;
/// Bytes sent at a time.
const PART: usize = 16 << 10;

pub(super) const VERB: Verb = Verb {
    name: "cat",
    usage: "PATH",
    summary: "Show a file of dom0's own file system",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let path = args.one(&VERB)?;
    let file = context.toolstack.storage().read_file(path, LIMIT).await;
    for part in file.map_err(failure)?.chunks(PART) {
        context.stdio.out(part).await?;
    }
    Ok(())
}
