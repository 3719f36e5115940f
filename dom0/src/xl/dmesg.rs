//! `xl dmesg`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use backends::console::plain;

use super::args::Args;
use super::{Context, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "dmesg",
    usage: "[-c]",
    summary: "Show the hypervisor's log",
    options: &[("-c --clear", "Forget it afterwards")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let log = context.toolstack.hypervisor().log(args.has("-c --clear"));
    let log = log.map_err(|errno| refused("reading the log", errno))?;
    // Guests can put words into it.
    Ok(context.stdio.out(plain(&log)).await?)
}
