//! Debug keys: questions to the core, answered in its log (`xl debug-keys`).

use crate::{arch, domain, mm};

use super::sweep;

const HELP: [(char, &str); 4] = [
    ('C', "crash the core, to see what it says"),
    ('h', "this list"),
    ('m', "check the invariants of memory"),
    ('u', "show what is in use"),
];

/// Answers one key. Privileged callers only.
pub fn press(key: char) {
    match key {
        'C' => crash(),
        'm' => drop(sweep::run()),
        'u' => usage(),
        _ => help(),
    }
}

fn help() {
    for (key, what) in HELP {
        log::info!("key {key}: {what}");
    }
}

/// Everything that must be back at its old figure once a domain is gone.
fn usage() {
    let domains = domain::table::all();
    let ports: u32 = domains
        .iter()
        .map(|domain| domain.events.open_count())
        .sum();
    let maps: u32 = domains
        .iter()
        .map(|domain| domain.grants.mapping_count())
        .sum();
    log::info!(
        "usage: free_frames={} heap_bytes={} domains={} ports={ports} grant_maps={maps}",
        mm::totals().free,
        arch::heap_bytes(),
        domains.len(),
    );
}

/// Fails on purpose; kept out of line so that the backtrace names it.
#[inline(never)]
fn crash() {
    panic!("asked to by a debug key");
}
