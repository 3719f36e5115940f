//! Many at once, destroyed while busy.

use std::time::Duration;

use radon_tests::{Host, Patience, image, kernel, ramdisk};

/// How long the guests work before they are destroyed. The long run of five minutes is
/// `RADON_MIXED_SECONDS=300`.
fn duration() -> Duration {
    let seconds = std::env::var("RADON_MIXED_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(15))
}

#[test]
fn twenty_small_guests_are_destroyed_while_busy() {
    let host = Host::up("small", 2, "1G");
    let baseline = host.usage();
    let names: Vec<_> = (0..20).map(|number| format!("small{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // Every fourth never gives up its CPU.
        let (guest, extra) = match number % 4 {
            0 => ("crash", "spin"),
            _ => ("hello", "stay"),
        };
        host.create(&[
            format!("name=\"{name}\""),
            format!("kernel=\"{}\"", image(guest).display()),
            format!("extra=\"{extra}\""),
            "memory=16".to_owned(),
        ]);
    }
    for (number, name) in names.iter().enumerate() {
        let sign = ["spinning", "hello from"][usize::from(number % 4 != 0)];
        host.wait_for_text(name, sign, Patience::SHORT);
    }
    for name in &names {
        let _ = host.xl_ok(["destroy", name]);
    }
    host.assert_clean(&baseline);
}

#[test]
fn two_debians_and_ten_small_guests_are_destroyed_while_busy() {
    let host = Host::up("mixed", 2, "4G");
    let baseline = host.usage();
    for debian in ["deb0", "deb1"] {
        host.create(&[
            format!("name=\"{debian}\""),
            format!("kernel=\"{}\"", kernel("cloud-amd64").display()),
            format!("ramdisk=\"{}\"", ramdisk().display()),
            "extra=\"console=hvc0 radon.work\"".to_owned(),
            "memory=256".to_owned(),
            "vcpus=2".to_owned(),
        ]);
    }
    for number in 0..10 {
        host.create(&[
            format!("name=\"small{number}\""),
            format!("kernel=\"{}\"", image("hello").display()),
            "extra=\"stay\"".to_owned(),
            "memory=16".to_owned(),
        ]);
    }
    for debian in ["deb0", "deb1"] {
        host.wait_for_text(debian, "RADON-USERLAND-OK", Patience::BOOT);
    }
    std::thread::sleep(duration());
    for name in ["deb0", "deb1"] {
        let _ = host.xl_ok(["destroy", name]);
    }
    for number in 0..10 {
        let _ = host.xl_ok(["destroy", &format!("small{number}")]);
    }
    host.assert_clean(&baseline);
}
