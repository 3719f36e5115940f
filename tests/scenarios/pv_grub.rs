//! PV-GRUB: the guest's own disk says which kernel it boots.

use std::path::PathBuf;

use radon_tests::{Debian, DiskFile, Host, Way, workspace};

fn pv_grub() -> PathBuf {
    let file = workspace().join("build/kernels/pv-grub");
    assert!(
        file.exists(),
        "{} is missing: run cargo xtask setup",
        file.display()
    );
    file
}

#[test]
fn pv_grub_boots_the_kernel_inside_the_image() {
    let root = DiskFile::root("pvgrub-root");
    let [way] = Way::new();
    let options = [Way::option(&[way]), root.option()];
    let host = Host::up_with("pvgrub", 2, "2G", &options);
    let baseline = host.usage();
    host.create(&[
        "name=\"grub\"".to_owned(),
        format!("kernel=\"{}\"", pv_grub().display()),
        "memory=384".to_owned(),
        "vcpus=2".to_owned(),
        "disk=['phy:/dev/vda,xvda,w']".to_owned(),
        "vif=['bridge=xenbr0']".to_owned(),
    ]);
    // Its kernel's command line is the image's own, so its address comes by DHCP.
    let guest = Debian::known(&host, "grub", way);
    guest.wait();
    let words = guest.run_ok("cat /proc/cmdline");
    assert!(words.contains("root=LABEL=root"), "{words}");
    guest.power_off();
    root.assert_clean();
    host.assert_clean(&baseline);
}
