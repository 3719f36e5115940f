//! `xl network-detach`

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::Args;
use super::devices::{FORCE, detach};
use super::{Context, Outcome, Verb};
use crate::config::parse_mac;
use crate::toolstack::{Kind, Plugged};

pub(super) const VERB: Verb = Verb {
    name: "network-detach",
    usage: "[--force] DOMAIN DEVID|MAC",
    summary: "Take a network away from a domain",
    options: &[FORCE],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    detach(&context, &VERB, &args, Kind::Vif, is_meant).await
}

/// By number, or by address.
fn is_meant(device: &Plugged, word: &str) -> bool {
    let mac = device.vif().map(|(_, mac)| mac);
    word.parse() == Ok(device.id()) || mac.is_some_and(|mac| parse_mac(word) == Ok(mac))
}
