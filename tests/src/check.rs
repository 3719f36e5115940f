//! The two checks that end every scenario.

use std::collections::BTreeMap;

use crate::host::Host;

/// What is in use on a host: frames, ports, grants, xenstore nodes… by name.
pub type Usage = BTreeMap<String, u64>;

/// Runs the invariant sweep over all of memory.
///
/// # Panics
/// When it finds anything.
pub(crate) fn sweep(host: &Host) {
    let line = answer(host, "m", "sweep:");
    assert!(line.contains("clean"), "the invariants do not hold: {line}");
}

/// Asks core and xenstore what they hold.
pub(crate) fn usage(host: &Host) -> Usage {
    let line = answer(host, "u", "usage:");
    let mut usage: Usage = line
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
        .collect();
    assert!(usage.contains_key("free_frames"), "no usage in {line:?}");
    let nodes = host.xl_ok(["xenstore-ls"]).lines().count() as u64;
    usage.insert("xenstore_nodes".to_owned(), nodes);
    usage
}

/// Presses a debug key and returns the last line of the log that answers it.
fn answer(host: &Host, key: &str, marker: &str) -> String {
    let _ = host.xl_ok(["debug-keys", key]);
    let log = host.dmesg();
    let line = log.lines().rev().find(|line| line.contains(marker));
    line.unwrap_or_else(|| panic!("no {marker:?} in the log:\n{log}"))
        .to_owned()
}
