//! `xl debug-keys`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::{Context, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "debug-keys",
    usage: "KEYS",
    summary: "Run the hypervisor's debug functions behind these letters; see `dmesg`",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let pressed = context.toolstack.hypervisor().debug_keys(args.one(&VERB)?);
    pressed.map_err(|errno| refused("the debug function", errno))
}
