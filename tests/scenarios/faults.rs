//! Devices that fail: a guest sees an error for what failed, and goes on with what did not.

use radon_tests::{DiskFile, Host, Patience, image};

/// The sector that the first disk cannot transfer.
const BAD: u32 = 20_000;

/// Runs a guest `disk`, and returns the line with its verdict.
fn verdict(host: &Host, extra: &str, disk: &str) -> String {
    host.create(&[
        "name=\"faults\"".to_owned(),
        format!("kernel=\"{}\"", image("disk").display()),
        format!("extra=\"{extra}\""),
        "memory=96".to_owned(),
        format!("disk=['phy:{disk},xvda,w']"),
        "on_poweroff=\"preserve\"".to_owned(),
        "on_crash=\"preserve\"".to_owned(),
    ]);
    let console = host.wait_for_text("faults", "verdict: ", Patience::BOOT);
    let _ = host.xl_ok(["destroy", "faults"]);
    let line = console.lines().find(|line| line.contains("verdict: "));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn a_disks_errors_reach_the_guest_and_stop_nothing_else() {
    let (sector, flush) = (
        DiskFile::empty("faults-sector", 32),
        DiskFile::empty("faults-flush", 32),
    );
    let pool = DiskFile::empty("faults-pool", 64);
    let options = [
        format!("{},fault={BAD}", sector.option()),
        format!("{},fault=flush", flush.option()),
        pool.option(),
    ];
    let host = Host::up_with("faults", 2, "1G", &options);
    let _ = host.xl_ok(["vol", "init", "pool", "/dev/vdc"]);
    let baseline = host.usage();

    let read = |sector| format!("read-sector {sector}");
    let error = verdict(&host, &read(BAD), "/dev/vda");
    assert!(error.contains("failed: "), "{error}");
    for good in [BAD - 1, BAD + 1] {
        assert_eq!(verdict(&host, &read(good), "/dev/vda"), "verdict: ok");
    }
    // All of this guest's blocks lie before the bad one.
    let before = verdict(&host, "verify ops=2000 span=16384", "/dev/vda");
    assert!(before.starts_with("verdict: ok"), "{before}");

    let promises = verdict(&host, "durable ops=100", "/dev/vdb");
    assert!(promises.contains("failed: "), "{promises}");

    // A base's errors come through its overlay, until the overlay has a block of its own.
    let _ = host.xl_ok(["vol", "create", "pool/over", "--base", "/dev/vda"]);
    let error = verdict(&host, &read(BAD), "/dev/pool/over");
    assert!(error.contains("failed: "), "{error}");
    assert_eq!(verdict(&host, &read(0), "/dev/pool/over"), "verdict: ok");
    let _ = host.xl_ok(["vol", "remove", "pool/over"]);
    host.assert_clean(&baseline);
}
