//! `xl shutdown`, and what `xl reboot` shares with it: asking a guest through xenstore.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Failure, Outcome, Verb, failure};
use crate::toolstack::{Guest, Phase};

pub(super) const VERB: Verb = Verb {
    name: "shutdown",
    usage: "[-w] -a|DOMAIN",
    summary: "Ask a domain to shut down",
    options: &[
        ("-a", "Ask all domains"),
        ("-w --wait", "Wait until it has ended"),
        ("-F", "Accepted for compatibility"),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    ask(&context, &VERB, &args, "poweroff").await
}

/// Asks the guests named to do `what`, and waits for their ends if that is wanted.
pub(super) async fn ask(context: &Context, verb: &Verb, args: &Args, what: &str) -> Outcome {
    let guests = guests(context, verb, args)?;
    for guest in &guests {
        let path = format!("/local/domain/{}/control/shutdown", guest.domain().get());
        let name = guest.name();
        if guest.phase() != Phase::Alive {
            return Err(failure(format!(
                "{name} has ended already; `xl destroy` removes it"
            )));
        }
        context
            .toolstack
            .with_store(|store| store.put(&path, what))
            .map_err(|error| failure(format!("{name} can't be asked: xenstore: {error}")))?;
        if !args.has("-q") {
            context
                .line(format!("{} domain {}", doing(verb), guest.domain()))
                .await?;
        }
    }
    if args.has("-w --wait") {
        for guest in &guests {
            context
                .toolstack
                .wait_until(|| guest.phase() != Phase::Alive)
                .await;
            // What its configuration says for its end is part of the end.
            let gone = || match guest.phase() {
                Phase::Gone => context.toolstack.guest(guest.domain()).is_none(),
                _ => true,
            };
            context.toolstack.wait_until(gone).await;
            context
                .line(format!("Domain {} has ended", guest.domain()))
                .await?;
        }
    }
    Ok(())
}

fn doing(verb: &Verb) -> &'static str {
    if verb.name == VERB.name {
        "Shutting down"
    } else {
        "Rebooting"
    }
}

fn guests(context: &Context, verb: &Verb, args: &Args) -> Result<Vec<Rc<Guest>>, Failure> {
    if args.has("-a") {
        let alive = |guest: &Rc<Guest>| guest.phase() == Phase::Alive;
        return Ok(context
            .toolstack
            .guests()
            .into_iter()
            .filter(alive)
            .collect());
    }
    if args.words.is_empty() {
        return Err(wants(verb, 1));
    }
    let find = |word: &String| {
        let domain = context.find_guest(word, verb.name)?;
        let guest = context.toolstack.guest(domain);
        guest.ok_or_else(|| failure(format!("{word} was not made here; only `destroy` works")))
    };
    args.words.iter().map(find).collect()
}
