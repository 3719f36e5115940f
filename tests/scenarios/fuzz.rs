//! Hypercalls at random harm nobody but who makes them.

use std::thread::sleep;
use std::time::Duration;

use radon_tests::{Host, Patience, image};

/// Numbers below this exist, or might.
const NUMBERS: u64 = 49;
/// Sequences of mixed numbers; each ends with a return to a random state.
const MIXED: u64 = 12;

/// Until the guest has come to its verdict or died of what it did to itself. It may also have put
/// itself to sleep for good.
fn wait_a_while(host: &Host) {
    for _ in 0..50 {
        if host.state("fuzz").is_some_and(|state| state.contains('s')) {
            return;
        }
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn random_hypercalls_harm_nobody_else() {
    let host = Host::up("fuzz", 2, "1G");
    let baseline = host.usage();
    let single = (0..NUMBERS).map(|number| format!("seed={number} calls=3000 only={number}"));
    let mixed = (0..MIXED).map(|seed| format!("seed={seed} calls=20000 last=iret"));
    for line in single.chain(mixed) {
        host.create(&[
            "name=\"fuzz\"".to_owned(),
            format!("kernel=\"{}\"", image("fuzz").display()),
            format!("extra=\"{line}\""),
            "memory=16".to_owned(),
            "vcpus=2".to_owned(),
            "on_poweroff=\"preserve\"".to_owned(),
            "on_reboot=\"preserve\"".to_owned(),
            "on_crash=\"preserve\"".to_owned(),
        ]);
        wait_a_while(&host);
        let _ = host.xl_ok(["destroy", "fuzz"]);
    }
    host.assert_clean(&baseline);
}

#[test]
fn a_guest_gets_no_hold_of_its_page_tables() {
    let host = Host::up("attacks", 2, "1G");
    let baseline = host.usage();
    host.create(&[
        "name=\"attacks\"".to_owned(),
        format!("kernel=\"{}\"", image("attacks").display()),
        "memory=16".to_owned(),
        "on_poweroff=\"preserve\"".to_owned(),
    ]);
    let _ = host.wait_for_text("attacks", "verdict: attacks:", Patience::SHORT);
    let _ = host.xl_ok(["destroy", "attacks"]);
    host.assert_clean(&baseline);
}
