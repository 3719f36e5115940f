//! `xl poweroff`: the whole host.
//!
//! Not one of Xen's verbs: there, dom0's own system does this.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::args::{Args, wants};
use super::{Context, Outcome, Verb, failure};
use crate::toolstack::Phase;

/// Time for the answer to reach whoever asked.
const GRACE: Duration = Duration::from_millis(100);

pub(super) const VERB: Verb = Verb {
    name: "poweroff",
    usage: "[-f]",
    summary: "Power the host off, if no domain runs",
    options: &[("-f --force", "Even if domains run")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    if !args.words.is_empty() {
        return Err(wants(&VERB, 0));
    }
    let guests = context.toolstack.guests();
    let alive = guests
        .iter()
        .filter(|guest| guest.phase() == Phase::Alive)
        .count();
    if alive > 0 && !args.has("-f --force") {
        return Err(failure(format!(
            "{alive} domains run; `xl shutdown -a -w` ends them, `xl poweroff -f` ignores them"
        )));
    }
    let toolstack = context.toolstack.clone();
    context.toolstack.runtime().spawn(async move {
        toolstack.runtime().sleep(GRACE).await;
        toolstack.hypervisor().power_off();
    });
    Ok(())
}
