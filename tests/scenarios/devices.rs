//! dom0's own devices: disks and cards under load, with interrupts by message and by line.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use radon_tests::{Host, Patience, until};

/// Longer than dom0 waits for an answer from the network.
const TIMER: Duration = Duration::from_secs(6);

/// A disk image that goes away with this value.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, bytes: u64) -> Self {
        let path = std::env::temp_dir().join(format!("radon-{name}-{}.img", std::process::id()));
        let file = File::create(&path).expect("a file for a disk");
        file.set_len(bytes).expect("room for a disk");
        Self(path)
    }

    fn word(&self, words: &str) -> String {
        format!("{}{words}", self.0.display())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Boots a host whose dom0 checks the disk vdb and the card eth1, and waits for both verdicts.
fn checks_pass(name: &str, cpus: u32, words: &str) {
    let images = ["a", "b"].map(|letter| Image::new(&format!("{name}-{letter}"), 128 << 20));
    let disks = images.each_ref().map(|image| image.word(words));
    let host = Host::up_with(
        name,
        cpus,
        "1G",
        &[
            "--disk",
            &disks[0],
            "--disk",
            &disks[1],
            "--net",
            "user",
            "--net",
            "user",
            "--dom0-args=loglevel=info disk-check=vdb nic-check=eth1",
        ],
    );
    for check in ["disk-check vdb: ", "nic-check eth1: "] {
        let log = until(&format!("{check:?} on the console"), Patience::BOOT, || {
            Some(host.serial_log()).filter(|log| log.contains(check))
        });
        assert!(log.contains(&format!("{check}ok")), "{log}");
    }
    // The card's check has set dom0's timer. It was answered in time, but the core holds the timer,
    // on its heap, until it passes: figures from before and after that differ.
    sleep(TIMER);
    let baseline = host.usage();
    host.assert_clean(&baseline);
}

#[test]
fn disks_and_cards_hold_what_they_are_given_on_one_cpu() {
    checks_pass("devices-1", 1, "");
}

#[test]
fn disks_that_share_an_interrupt_line_hold_what_they_are_given() {
    checks_pass("devices-line", 2, ",intx");
}

#[test]
fn disks_of_large_sectors_hold_what_they_are_given() {
    checks_pass("devices-4k", 2, ",4k");
}
