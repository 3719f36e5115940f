//! What guests may not have of traps and CPU state, they do not get.

use radon_tests::{Host, Patience, image};

#[test]
fn a_guest_that_asks_for_forbidden_states_gets_exceptions_and_refusals() {
    let host = Host::up("traps", 2, "1G");
    let baseline = host.usage();
    host.create(&[
        "name=\"traps\"".to_owned(),
        format!("kernel=\"{}\"", image("traps").display()),
        "extra=\"stay\"".to_owned(),
        "memory=16".to_owned(),
    ]);
    host.wait_for_text("traps", "verdict: traps:", Patience::SHORT);
    let _ = host.xl_ok(["destroy", "traps"]);
    host.wait_until_gone("traps", Patience::SHORT);
    host.assert_clean(&baseline);
}
