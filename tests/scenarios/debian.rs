//! Debian's own kernels, unmodified.

use std::path::Path;

use radon_tests::{BAD_WORDS, Host, Patience, kernel, ramdisk, until};

fn boots_runs_busybox_and_shuts_down(flavour: &str, cpus: u32) {
    let kernel = kernel(flavour);
    assert!(
        Path::new(&kernel).exists(),
        "{} is missing: run cargo xtask setup",
        kernel.display()
    );
    let host = Host::up(&format!("{flavour}-{cpus}"), cpus, "2G");
    let baseline = host.usage();
    host.create(&[
        "name=\"deb\"".to_owned(),
        format!("kernel=\"{}\"", kernel.display()),
        format!("ramdisk=\"{}\"", ramdisk().display()),
        "extra=\"console=hvc0\"".to_owned(),
        "memory=256".to_owned(),
        "vcpus=2".to_owned(),
        "on_poweroff=\"preserve\"".to_owned(),
    ]);
    let log = host.wait_for_text("deb", "RADON-USERLAND-OK", Patience::BOOT);
    assert!(log.contains("cpus=2"), "not both vCPUs are online:\n{log}");
    let _ = host.xl_ok(["shutdown", "deb"]);
    until("Debian's own shutdown", Patience::BOOT, || {
        host.state("deb").filter(|state| state.contains('s'))
    });
    let log = host.console("deb");
    for word in BAD_WORDS {
        assert!(!log.contains(word), "{word} in the log:\n{log}");
    }
    let _ = host.xl_ok(["destroy", "deb"]);
    host.assert_clean(&baseline);
}

#[test]
fn the_amd64_kernel_boots_and_shuts_down_by_itself() {
    boots_runs_busybox_and_shuts_down("amd64", 2);
}

#[test]
fn the_cloud_kernel_boots_and_shuts_down_by_itself_on_one_two_and_four_cpus() {
    for cpus in [1, 2, 4] {
        boots_runs_busybox_and_shuts_down("cloud-amd64", cpus);
    }
}
