//! `xl block-detach`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::devices::{FORCE, detach};
use super::{Context, Outcome, Verb};
use crate::config::Vdev;
use crate::toolstack::{Kind, Plugged};

pub(super) const VERB: Verb = Verb {
    name: "block-detach",
    usage: "[--force] DOMAIN VDEV",
    summary: "Take a disk away from a domain",
    options: &[FORCE],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    detach(&context, &VERB, &args, Kind::Vbd, is_meant).await
}

/// By any name that stands for its number.
fn is_meant(device: &Plugged, word: &str) -> bool {
    Vdev::parse(word).is_ok_and(|vdev| vdev.number() == device.id())
}
