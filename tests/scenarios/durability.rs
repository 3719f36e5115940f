//! A power cut at any moment: what a guest was told is on the disk is on the disk.
//!
//! The guest is Debian's cloud kernel with the busybox ramdisk, whose `/etc/disks` keeps numbered
//! files on ext4 (`xtask/src/setup/busybox.rs`). Each boot replays the journals that the cut left
//! and copies the disks, so that they can be looked at from here while the guest writes on.
//!
//! The long form: `RADON_POWER_CUTS=100`.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use radon_tests::{DiskFile, Host, Patience, kernel, ramdisk, rounds, until};

/// The size of each file system.
const MIB: u64 = 16;

/// Creates a guest that keeps files on its disks: `words` say which, `disks` are `xl`'s.
fn create(host: &Host, name: &str, words: &str, disks: &[&str]) {
    let disks: Vec<_> = disks.iter().map(|disk| format!("'phy:{disk}'")).collect();
    host.create(&[
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", kernel("cloud-amd64").display()),
        format!("ramdisk=\"{}\"", ramdisk().display()),
        format!("extra=\"console=hvc0 hostname={name} {words}\""),
        "memory=128".to_owned(),
        format!("disk=[{}]", disks.join(",")),
        "on_crash=\"preserve\"".to_owned(),
    ]);
}

/// The last number that a guest reported as kept on a disk.
fn reported(console: &str, disk: &str) -> u32 {
    let words = format!("disks: {disk} keeps ");
    assert!(!console.contains(&format!("{disk} fails")), "{console}");
    // The last line may have been cut short.
    let whole = console.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let numbers = whole
        .lines()
        .filter_map(|line| line.split_once(&words)?.1.trim().parse().ok());
    numbers.max().unwrap_or(0)
}

/// Waits until a guest has kept some more on each of these disks.
fn wait_for_more(host: &Host, name: &str, disks: &[&str]) {
    until("files that are kept", Patience::BOOT, || {
        let console = host.console(name);
        let some = |disk: &&str| reported(&console, disk) > 0;
        disks.iter().all(some).then_some(())
    });
}

/// Waits until a guest has copied a disk.
fn wait_for_copy(host: &Host, name: &str, disk: &str) {
    let console = host.wait_for_text(name, &format!("disks: {disk} "), Patience::BOOT);
    assert!(!console.contains(&format!("{disk} fails")), "{console}");
}

/// Looks at the copy of a disk whose journal has been replayed: the file system is whole, and
/// everything up to `reported` is there, and nothing else.
fn assert_kept(copy: &DiskFile, name: &str, disk: &str, reported: u32) {
    copy.assert_clean();
    let log = copy.read("/log");
    let last = u32::try_from(log.lines().count()).expect("a short log");
    assert!(
        last >= reported,
        "{disk}: {reported} reported, {last} there"
    );
    for (number, line) in (1..).zip(log.lines()) {
        assert_eq!(line, format!("{name} {disk} {number}"));
    }
    // The eighth from the end may have been on its way to become the next.
    for number in last.saturating_sub(6).max(1)..=last {
        let line = format!("{name} {disk} {number}\n");
        let size = number as usize * 7919 % 61 * 1024 + 512;
        let wanted: String = line.chars().cycle().take(size).collect();
        let file = copy.read(&format!("/file{}", number % 8));
        assert!(file == wanted, "{disk}: not all of {number} is there");
    }
}

#[test]
fn file_systems_on_volumes_and_overlays_outlive_power_cuts() {
    let base = DiskFile::ext4("cuts-ext4", MIB);
    let pool = DiskFile::empty("cuts-pool", 256);
    let copies = ["cuts-plain", "cuts-over"].map(|name| DiskFile::empty(name, MIB));
    let options = [
        format!("{},ro", base.option()),
        pool.option(),
        copies[0].option(),
        copies[1].option(),
    ];
    let mut kept = [0; 2];
    let rounds = rounds("POWER_CUTS", 2);
    for round in 0..=rounds {
        let host = Host::up_with("cuts-ext4", 2, "1G", &options);
        let fill = if round == 0 { fresh(&host) } else { "" };
        let words = format!("{fill}radon.keep=xvda:xvdc radon.keep=xvdb:xvdd");
        let mut disks = vec![
            "/dev/pool/plain,xvda,w",
            "/dev/pool/over,xvdb,w",
            "/dev/vdc,xvdc,w",
            "/dev/vdd,xvdd,w",
        ];
        if round == 0 {
            disks.push("/dev/vda,xvde,r");
        }
        create(&host, "keeper", &words, &disks);
        assert_eq!(host.xl_ok(["vol", "list"]).matches("pool/").count(), 2);
        for ((disk, copy), kept) in ["xvda", "xvdb"].iter().zip(&copies).zip(kept) {
            wait_for_copy(&host, "keeper", disk);
            if round > 0 {
                assert_kept(copy, "keeper", disk, kept);
            }
        }
        if round < rounds {
            wait_for_more(&host, "keeper", &["xvda", "xvdb"]);
            sleep(some_moment());
            let console = host.console("keeper");
            kept = ["xvda", "xvdb"].map(|disk| reported(&console, disk));
            host.cut_power();
        }
    }
}

/// Makes the pool with its two volumes; says by which words the guest gives the plain one its file
/// system, as the overlay has it from its base.
fn fresh(host: &Host) -> &'static str {
    let _ = host.xl_ok(["vol", "init", "pool", "/dev/vdb"]);
    let _ = host.xl_ok(["vol", "create", "pool/plain", "16M"]);
    let _ = host.xl_ok(["vol", "create", "pool/over", "--base", "/dev/vda"]);
    "radon.fill=xvde:xvda "
}

#[test]
fn guests_on_one_base_image_see_their_own_writes_only() {
    let base = DiskFile::ext4("shared-base", MIB);
    let before = fs::read(base.path()).expect("the base can be read");
    let pool = DiskFile::empty("shared-pool", 256);
    let copies = ["shared-left", "shared-right"].map(|name| DiskFile::empty(name, MIB));
    let options = [
        format!("{},ro", base.option()),
        pool.option(),
        copies[0].option(),
        copies[1].option(),
    ];
    let host = Host::up_with("shared", 2, "1G", &options);
    let _ = host.xl_ok(["vol", "init", "pool", "/dev/vdb"]);
    let guests = [("left", "/dev/vdc,xvdb,w"), ("right", "/dev/vdd,xvdb,w")];
    for (name, _) in guests {
        let _ = host.xl_ok([
            "vol",
            "create",
            &format!("pool/{name}"),
            "--base",
            "/dev/vda",
        ]);
    }
    let baseline = host.usage();
    let mut kept = [0; 2];
    for _ in 0..2 {
        for (name, copy) in guests {
            let disk = format!("/dev/pool/{name},xvda,w");
            create(&host, name, "radon.keep=xvda:xvdb", &[&disk, copy]);
        }
        for (((name, _), copy), kept) in guests.iter().zip(&copies).zip(&mut kept) {
            wait_for_copy(&host, name, "xvda");
            if *kept > 0 {
                assert_kept(copy, name, "xvda", *kept);
            }
            wait_for_more(&host, name, &["xvda"]);
        }
        for ((name, _), kept) in guests.iter().zip(&mut kept) {
            *kept = reported(&host.console(name), "xvda");
            let _ = host.xl_ok(["destroy", name]);
        }
    }
    host.assert_clean(&baseline);
    let after = fs::read(base.path()).expect("the base can be read");
    assert!(before == after, "the base image has changed");
}

/// Below two seconds, and never the same.
fn some_moment() -> Duration {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    Duration::from_nanos(now.map_or(0, |now| u64::from(now.subsec_nanos()) * 2))
}
