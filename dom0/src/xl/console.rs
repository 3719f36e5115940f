//! `xl console`

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::pin::pin;

use backends::console::{Cursor, plain};
use futures_util::future::{Either, select};

use super::args::Args;
use super::{Context, Failure, Outcome, Verb, failure};
use crate::toolstack::Guest;

/// The key that lets go of the console: Ctrl-].
const ESCAPE: u8 = 0x1d;

pub(super) const VERB: Verb = Verb {
    name: "console",
    usage: "[--log] DOMAIN",
    summary: "Connect to a domain's console; Ctrl-] lets go",
    options: &[(
        "-l --log",
        "Only print what it has printed so far, without escape sequences",
    )],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let domain = context.find_guest(args.one(&VERB)?, "connect to the console of")?;
    let guest = context.toolstack.guest(domain).ok_or_else(|| {
        failure(alloc::format!(
            "domain {domain} was not made here and has no console"
        ))
    })?;
    if args.has("-l --log") {
        return Ok(context.stdio.out(plain(&guest.console_log())).await?);
    }
    attach(&context, &guest).await
}

/// Prints what a guest has printed and prints, and types what is typed, until the guest is gone
/// or the user lets go. The end of the input only ends the typing.
pub(super) async fn attach(context: &Context, guest: &Rc<Guest>) -> Outcome {
    let output = pin!(show(context, guest));
    let input = pin!(type_in(context, guest));
    match select(output, input).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right((Typing::LetGo, _)) => Ok(()),
        Either::Right((Typing::InputEnded, output)) => output.await,
    }
}

async fn show(context: &Context, guest: &Rc<Guest>) -> Outcome {
    let mut cursor = Cursor::default();
    while let Some(bytes) = guest.printed(&mut cursor).await {
        context.stdio.out(bytes).await.map_err(Failure::from)?;
    }
    Ok(())
}

/// Why nobody types any more.
enum Typing {
    LetGo,
    InputEnded,
}

async fn type_in(context: &Context, guest: &Rc<Guest>) -> Typing {
    while let Some(bytes) = context.stdio.read().await {
        let escape = bytes.iter().position(|&byte| byte == ESCAPE);
        let typed = bytes
            .get(..escape.unwrap_or(bytes.len()))
            .unwrap_or_default();
        // What a guest that doesn't read can't take is lost, as on a real line.
        guest.type_in(typed);
        if escape.is_some() {
            return Typing::LetGo;
        }
    }
    Typing::InputEnded
}
