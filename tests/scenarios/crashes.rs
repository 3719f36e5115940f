//! A guest that goes wrong dies alone.

use radon_tests::{Host, Patience, image, until};

/// Every way in which the `crash` guest can be told to go wrong.
const WAYS: [&str; 5] = ["shutdown", "fault", "stack", "tables", "pointers"];

#[test]
fn a_crashed_guest_is_shown_as_crashed_and_the_host_goes_on() {
    let host = Host::up("crash", 2, "1G");
    let baseline = host.usage();
    for way in WAYS {
        host.create(&[
            format!("name=\"{way}\""),
            format!("kernel=\"{}\"", image("crash").display()),
            format!("extra=\"{way}\""),
            "memory=16".to_owned(),
            "on_crash=\"preserve\"".to_owned(),
        ]);
        let state = until(&format!("the crash by {way}"), Patience::SHORT, || {
            host.state(way).filter(|state| state.contains('c'))
        });
        assert!(!state.contains('r'), "{way} still runs: {state}");
        let id = host.xl_ok(["domid", way]);
        let log = host.dmesg();
        let marker = format!("d{}", id.trim());
        assert!(
            log.lines().any(|line| line.contains(&marker)),
            "no reason for {way}:\n{log}"
        );
        let _ = host.xl_ok(["destroy", way]);
    }
    host.assert_clean(&baseline);
}

#[test]
fn a_guest_that_spins_with_upcalls_masked_can_be_destroyed() {
    let host = Host::up("spin", 1, "1G");
    let baseline = host.usage();
    host.create(&[
        "name=\"spin\"".to_owned(),
        format!("kernel=\"{}\"", image("crash").display()),
        "extra=\"spin\"".to_owned(),
        "memory=16".to_owned(),
    ]);
    host.wait_for_text("spin", "spinning", Patience::SHORT);
    let _ = host.xl_ok(["destroy", "spin"]);
    host.wait_until_gone("spin", Patience::SHORT);
    host.assert_clean(&baseline);
}
