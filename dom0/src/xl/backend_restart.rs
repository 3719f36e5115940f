//! `xl backend-restart`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Outcome, Verb, failure};
use crate::toolstack::Kind;

pub(super) const VERB: Verb = Verb {
    name: "backend-restart",
    usage: "blk|net [DOMAIN…]",
    summary: "Put new backends into the place of those of disks or networks; guests go on",
    options: &[("-q --quiet", "Say nothing")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let [what, domains @ ..] = args.words.as_slice() else {
        return Err(wants(&VERB, 1));
    };
    let kind = match what.as_str() {
        "blk" | "vbd" => Kind::Vbd,
        "net" | "vif" => Kind::Vif,
        other => {
            return Err(failure(format!(
                "`{other}` is no kind of backend; write blk or net"
            )));
        }
    };
    let guests = if domains.is_empty() {
        context.toolstack.guests()
    } else {
        let guest = |word: &String| context.guest(word, VERB.name);
        domains.iter().map(guest).collect::<Result<_, _>>()?
    };
    for guest in guests {
        let devices = guest.devices();
        for device in devices.iter().filter(|device| device.kind() == kind) {
            let restarted = context.toolstack.restart_backend(device).await;
            let name = guest.name();
            restarted.map_err(|error| failure(format!("domain {name}: {error}")))?;
            if !args.has("-q --quiet") {
                let title = device.title();
                context
                    .line(format!("{name}: {title}: backend restarted"))
                    .await?;
            }
        }
    }
    Ok(())
}
