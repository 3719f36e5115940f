//! A host that stands alone: the ISO, booted as a disk, with either firmware.

use std::path::PathBuf;
use std::sync::OnceLock;

use radon_tests::{Firmware, Patience, Standalone, until, xtask};

/// The image, made once for all tests here.
fn iso() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let output = xtask(["iso", "--no-build"]).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run xtask: {error}"));
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "no ISO: {words}");
        String::from_utf8_lossy(&output.stdout).trim().into()
    });
    made.clone()
}

/// Boots the image, lists the domains, and starts a guest from the image's own file system.
fn boots_and_starts_a_guest(firmware: Firmware) {
    let mut host = Standalone::boot(&iso(), firmware);
    assert!(host.command("xl list").contains("Domain-0"));
    host.command("xl create /hello.cfg");
    assert!(host.command("xl list hello").contains("32"));
    until("the guest's first words", Patience::SHORT, || {
        let console = host.command("xl console --log hello");
        console.contains("hello from").then_some(())
    });
    host.command("xl destroy hello");
    assert!(!host.command("xl list").contains("hello"));
    let sweep = host.command("xl debug-keys m");
    assert!(sweep.contains("sweep: clean"), "{sweep}");
}

#[test]
fn the_iso_boots_with_a_bios_and_starts_a_guest_of_its_own() {
    boots_and_starts_a_guest(Firmware::Bios);
}

#[test]
fn the_iso_boots_with_uefi_and_starts_a_guest_of_its_own() {
    boots_and_starts_a_guest(Firmware::Uefi);
}
