//! `xl ls`: what there is on dom0's own file system.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, failure};

pub(super) const VERB: Verb = Verb {
    name: "ls",
    usage: "[PATH]",
    summary: "List a directory of dom0's own file system, with the sizes of files",
    options: &[("-l", "Accepted for compatibility")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let path = args.at_most_one(&VERB)?.unwrap_or("/");
    let files = context.toolstack.storage().list_dir(path).await;
    let mut text = String::new();
    for file in files.map_err(failure)? {
        let (size, name) = (file.size, file.name.escape_debug());
        text.push_str(&match file.is_dir {
            true => format!("{:>12} {name}/\n", ""),
            false => format!("{size:>12} {name}\n"),
        });
    }
    Ok(context.stdio.out(text).await?)
}
