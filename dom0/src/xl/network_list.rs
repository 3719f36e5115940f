//! `xl network-list`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use backends::xenbus::Device;

use super::args::Args;
use super::{Context, Outcome, Verb};
use crate::toolstack::Kind;

pub(super) const VERB: Verb = Verb {
    name: "network-list",
    usage: "DOMAIN…",
    summary: "List the networks of domains",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let vifs = context.devices_of(&VERB, &args.words, Kind::Vif)?;
    let mut text = format!(
        "{:<3} {:<2} {:<17} {:<6} {:<5} {:<6} {:>5}/{:<5} {:<30}\n",
        "Idx", "BE", "Mac Addr.", "handle", "state", "evt-ch", "tx-", "rx-ring-ref", "BE-path"
    );
    for (guest, vif) in vifs {
        let front = |names: &[&str]| context.front(&guest, &vif, names);
        let mac = vif
            .vif()
            .map(|(_, mac)| mac.to_string())
            .unwrap_or_default();
        text.push_str(&format!(
            "{:<3} {:<2} {mac} {:>6} {:>5} {:>6} {:>5}/{:<11} {:<30}\n",
            vif.id(),
            0,
            vif.id(),
            front(&["state"]),
            front(&[
                "event-channel",
                "event-channel-tx",
                "queue-0/event-channel",
                "queue-0/event-channel-tx",
            ]),
            front(&["tx-ring-ref", "queue-0/tx-ring-ref"]),
            front(&["rx-ring-ref", "queue-0/rx-ring-ref"]),
            Device::back_path(Kind::Vif.name(), guest.domain(), vif.id()),
        ));
    }
    Ok(context.stdio.out(text).await?)
}
