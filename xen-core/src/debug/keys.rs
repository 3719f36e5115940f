//! Debug keys: questions to the core, answered in its log (`xl debug-keys`).

use crate::domain::Domain;
use crate::{arch, domain, mm, sched};

use super::sweep;

const HELP: [(char, &str); 5] = [
    ('C', "crash the core, to see what it says"),
    ('h', "this list"),
    ('m', "check the invariants of memory"),
    ('q', "describe the domains and their vCPUs"),
    ('u', "show what is in use"),
];

/// Answers one key. Privileged callers only.
pub fn press(key: char) {
    match key {
        'C' => crash(),
        'm' => drop(sweep::run()),
        'q' => domain::table::all()
            .iter()
            .for_each(|domain| describe(domain)),
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
    sched::trim();
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

fn describe(domain: &Domain) {
    log::info!(
        "d{}: {:?}, paused {}, {} of {} pages, {} ports, {} frames of grants, {} CPUs dirty",
        domain.id,
        domain.life.stage(),
        domain.life.is_paused(),
        domain.memory.total_pages(),
        domain.memory.max_pages(),
        domain.events.open_count(),
        domain.grants.frames(),
        domain.dirty_cpus.load().len(),
    );
    for vcpu in domain.vcpus() {
        log::info!(
            "  d{}v{}: {}, on {:?}, last on CPU {}, ran {} ns",
            domain.id,
            vcpu.id,
            state(vcpu.sched.is_up(), vcpu.sched.is_blocked()),
            vcpu.sched.running_on(),
            vcpu.sched.last_cpu(),
            vcpu.sched.cpu_time_ns(),
        );
    }
}

const fn state(up: bool, blocked: bool) -> &'static str {
    match (up, blocked) {
        (false, _) => "down",
        (true, true) => "blocked",
        (true, false) => "runnable",
    }
}
