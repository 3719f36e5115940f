//! `xl block-list`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use backends::xenbus::Device;

use super::args::Args;
use super::{Context, Outcome, Verb};
use crate::toolstack::Kind;

pub(super) const VERB: Verb = Verb {
    name: "block-list",
    usage: "DOMAIN…",
    summary: "List the disks of domains",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let disks = context.devices_of(&VERB, &args.words, Kind::Vbd)?;
    let mut text = format!(
        "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}\n",
        "Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"
    );
    for (guest, disk) in disks {
        let front = |names: &[&str]| context.front(&guest, &disk, names);
        text.push_str(&format!(
            "{:<5} {:<3} {:<6} {:<5} {:<6} {:<8} {:<30}\n",
            disk.id(),
            0,
            guest.domain().get(),
            front(&["state"]),
            front(&["event-channel", "queue-0/event-channel"]),
            front(&[
                "ring-ref",
                "ring-ref0",
                "queue-0/ring-ref",
                "queue-0/ring-ref0"
            ]),
            Device::back_path(Kind::Vbd.name(), guest.domain(), disk.id()),
        ));
    }
    Ok(context.stdio.out(text).await?)
}
