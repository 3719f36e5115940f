//! Disks under Rust guests that know each sector they wrote: backends that start anew, disks that
//! come and go, power cuts, and frontends that break every rule.
//!
//! The long forms: `RADON_RESTARTS=1000`, `RADON_CYCLES=200`, `RADON_POWER_CUTS=100`.

use std::thread::sleep;
use std::time::{Duration, SystemTime};

use radon_tests::{DiskFile, Host, Patience, image, rounds, until};

/// Creates a guest `disk`, which stays to be looked at when it ends.
fn create(host: &Host, name: &str, extra: &str, disk: &str) {
    host.create(&[
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", image("disk").display()),
        format!("extra=\"{extra}\""),
        "memory=96".to_owned(),
        format!("disk=['{disk}']"),
        "on_poweroff=\"preserve\"".to_owned(),
        "on_crash=\"preserve\"".to_owned(),
    ]);
}

/// Waits for a guest's verdict, and ends the guest.
fn verdict(host: &Host, name: &str, patience: Patience) -> String {
    let console = host.wait_for_text(name, "verdict: ", patience);
    let _ = host.xl_ok(["destroy", name]);
    let line = console.lines().find(|line| line.contains("verdict: "));
    line.unwrap_or_default().trim().to_owned()
}

/// A host with a base image and a pool named `pool`.
fn host_with_a_pool(name: &str, base: &DiskFile, pool: &DiskFile, fresh: bool) -> Host {
    let host = Host::up_with(name, 2, "1G", &[base.option(), pool.option()]);
    if fresh {
        let _ = host.xl_ok(["vol", "init", "pool", "/dev/vdb"]);
    }
    host
}

#[test]
fn nothing_is_lost_or_repeated_while_disks_come_go_and_start_anew() {
    let (base, pool) = (
        DiskFile::empty("plugs-base", 32),
        DiskFile::empty("plugs", 256),
    );
    let host = host_with_a_pool("plugs", &base, &pool, true);
    let _ = host.xl_ok(["vol", "create", "pool/over", "--base", "/dev/vda"]);
    let baseline = host.usage();
    let disk = "phy:/dev/pool/over,xvda,w";
    create(&host, "plugs", "verify span=32768", disk);
    host.wait_for_text("plugs", "filled", Patience::SHORT);

    for _ in 0..rounds("RESTARTS", 10) {
        let _ = host.xl_ok(["backend-restart", "blk", "plugs"]);
    }
    for cycle in 0..rounds("CYCLES", 10) {
        let _ = host.xl_ok(["block-detach", "plugs", "xvda"]);
        let _ = host.xl_ok(["block-attach", "plugs", disk]);
        // Every other time it goes again while the guest is still connecting.
        sleep(Duration::from_millis(200 * u64::from(cycle % 2)));
    }
    let _ = host.xl_ok(["shutdown", "plugs"]);
    let verdict = verdict(&host, "plugs", Patience::SHORT);
    assert!(verdict.starts_with("verdict: ok"), "{verdict}");
    host.assert_clean(&baseline);
}

#[test]
fn a_frontend_that_breaks_the_rules_loses_its_device_alone() {
    let (mine, theirs) = (
        DiskFile::empty("hostile", 32),
        DiskFile::empty("bystander", 32),
    );
    let host = Host::up_with("hostile-disk", 2, "1G", &[mine.option(), theirs.option()]);
    let baseline = host.usage();
    create(&host, "bystander", "verify", "phy:/dev/vdb,xvda,w");
    create(&host, "hostile", "hostile", "phy:/dev/vda,xvda,w");
    let verdict_of_the_attacker = verdict(&host, "hostile", Patience::SHORT);
    assert!(
        verdict_of_the_attacker.starts_with("verdict: ok"),
        "{verdict_of_the_attacker}"
    );
    let _ = host.xl_ok(["shutdown", "bystander"]);
    let bystander = verdict(&host, "bystander", Patience::SHORT);
    assert!(bystander.starts_with("verdict: ok"), "{bystander}");
    host.assert_clean(&baseline);
}

#[test]
fn volumes_and_overlays_keep_their_promises_over_power_cuts() {
    let (base, pool) = (
        DiskFile::empty("cuts-base", 32),
        DiskFile::empty("cuts", 256),
    );
    {
        let host = host_with_a_pool("cuts", &base, &pool, true);
        let _ = host.xl_ok(["vol", "create", "pool/plain", "32M"]);
        let _ = host.xl_ok(["vol", "create", "pool/over", "--base", "/dev/vda"]);
    }
    for _ in 0..rounds("POWER_CUTS", 2) {
        for volume in ["plain", "over"] {
            let disk = format!("phy:/dev/pool/{volume},xvda,w");
            let host = host_with_a_pool("cuts", &base, &pool, false);
            create(&host, "writer", "durable slots=4096", &disk);
            until("the first promises", Patience::BOOT, || {
                (promises(&host.console("writer")).count() >= 3).then_some(())
            });
            sleep(Duration::from_millis(u64::from(some_millis())));
            let promised = host.console("writer");
            host.cut_power();
            drop(host);

            let host = host_with_a_pool("cuts", &base, &pool, false);
            let (first, last) = promise(&promised);
            let extra = format!("check first={first} last={last} slots=4096");
            create(&host, "reader", &extra, &disk);
            let verdict = verdict(&host, "reader", Patience::BOOT);
            assert!(
                verdict.starts_with("verdict: ok"),
                "{volume}, {first} to {last}: {verdict}"
            );
        }
    }
}

/// What the writer promised: the first and the last number of its run.
fn promise(console: &str) -> (u64, u64) {
    let first = console.split("durable first=").nth(1);
    let first = first.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    (
        first.expect("the writer began"),
        promises(console).max().expect("the writer promised"),
    )
}

/// The numbers up to which the writer called its blocks durable, each time it did.
fn promises(console: &str) -> impl Iterator<Item = u64> {
    // The last line may have been cut short.
    let whole = console.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let promise = |line: &str| line.trim().strip_prefix("durable ")?.parse().ok();
    whole.lines().filter_map(promise)
}

/// Below two seconds, and never the same.
fn some_millis() -> u32 {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    now.map_or(0, |now| now.subsec_nanos() / 500_000)
}
