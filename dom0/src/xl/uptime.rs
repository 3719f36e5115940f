//! `xl uptime`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use guest_abi::DomId;

use super::args::Args;
use super::table::duration;
use super::{Context, Outcome, Verb};

pub(super) const VERB: Verb = Verb {
    name: "uptime",
    usage: "[DOMAIN…]",
    summary: "Show how long domains have been there",
    options: &[("-s --short", "Accepted for compatibility")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let domains: Vec<DomId> = if args.words.is_empty() {
        let guests = context.toolstack.guests();
        core::iter::once(DomId::DOM0)
            .chain(guests.iter().map(|guest| guest.domain()))
            .collect()
    } else {
        args.words
            .iter()
            .map(|word| context.find(word))
            .collect::<Result<_, _>>()?
    };
    let now = context.toolstack.runtime().now();
    let mut text = format!("{:<33} {:>4} {}\n", "Name", "ID", "Uptime");
    for domain in domains {
        let since = context.toolstack.guest(domain).map(|guest| guest.created());
        let seconds = (now - since.unwrap_or_default()).as_secs();
        let name = context.name(domain);
        text.push_str(&format!(
            "{name:<33} {:>4} {}\n",
            domain.get(),
            duration(seconds)
        ));
    }
    Ok(context.stdio.out(text).await?)
}
