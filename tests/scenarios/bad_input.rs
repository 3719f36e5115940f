//! A user's mistake gets one line that says what is wrong, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;

use radon_tests::{Host, image, kernel, ramdisk};

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("radon-{}-{name}", std::process::id()));
    fs::write(&path, bytes).expect("the temporary folder takes files");
    path
}

/// What happens to files on their way: cut short, or changed in the middle.
fn damaged() -> Vec<(Vec<String>, &'static str)> {
    let bz_image = fs::read(kernel("cloud-amd64")).expect("the set-up got the kernel");
    let archive = fs::read(ramdisk()).expect("the set-up made the ramdisk");
    let spoilt = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0x58);
        bytes
    };
    let setting = |key: &str, path: PathBuf| format!("{key}=\"{}\"", path.display());
    let cut_kernel = scratch("cut-kernel", &bz_image[..bz_image.len() / 2]);
    let spoilt_kernel = scratch("spoilt-kernel", &spoilt(&bz_image));
    let cut_ramdisk = scratch("cut-ramdisk", &archive[..archive.len() / 2]);
    let spoilt_ramdisk = scratch("spoilt-ramdisk", &spoilt(&archive));
    let whole = setting("kernel", kernel("cloud-amd64"));
    let (name, memory) = ("name=\"a\"", "memory=128");
    let with = |settings: &[&str]| settings.iter().map(ToString::to_string).collect();
    vec![
        (
            with(&[name, &setting("kernel", cut_kernel)]),
            "cut-kernel: truncated",
        ),
        (
            with(&[name, &setting("kernel", spoilt_kernel)]),
            "spoilt-kernel: corrupt",
        ),
        (
            with(&[name, memory, &whole, &setting("ramdisk", cut_ramdisk)]),
            "cut-ramdisk: truncated",
        ),
        (
            with(&[name, memory, &whole, &setting("ramdisk", spoilt_ramdisk)]),
            "spoilt-ramdisk: corrupt",
        ),
        (with(&[name, "memory=8", &whole]), "raise `memory`"),
        (
            with(&[name, &setting("kernel", std::env::temp_dir())]),
            "folder",
        ),
        (
            with(&[name, "kernel=\"/bin/true\""]),
            "/bin/true: not a PV-capable kernel",
        ),
    ]
}

/// Each wrong config, and a word that the message must hold.
fn mistakes() -> Vec<(Vec<String>, &'static str)> {
    let hello = format!("kernel=\"{}\"", image("hello").display());
    let whole = fs::read(image("hello")).expect("the guests are built");
    let half = scratch("half", &whole[..whole.len() / 2]);
    let text = scratch(
        "text",
        b"this is no kernel, is it?\n".repeat(400).as_slice(),
    );
    let gz = scratch("gz", b"\x1f\x8b\x08\x00 not really gzip");
    let kernel_at = |path: PathBuf| format!("kernel=\"{}\"", path.display());
    vec![
        (
            vec!["name=\"a\"".into(), "kernel=\"/nowhere/vmlinuz\"".into()],
            "/nowhere/vmlinuz",
        ),
        (
            vec!["name=\"a\"".into(), hello.clone(), "memory=\"much\"".into()],
            "memory",
        ),
        (
            vec!["name=\"a\"".into(), hello.clone(), "memory=900000".into()],
            "free",
        ),
        (vec!["name=\"a\"".into(), "memory=16".into()], "kernel"),
        (
            vec!["name=\"a\"".into(), kernel_at(half), "memory=16".into()],
            "half",
        ),
        (
            vec!["name=\"a\"".into(), kernel_at(text), "memory=16".into()],
            "text",
        ),
        (
            vec!["name=\"a\"".into(), kernel_at(gz), "memory=16".into()],
            "gz",
        ),
    ]
}

#[test]
fn each_mistake_gets_one_clear_line_and_leaves_nothing_behind() {
    let host = Host::up("badinput", 2, "1G");
    let baseline = host.usage();
    for (settings, word) in mistakes().into_iter().chain(damaged()) {
        let mut args = vec!["create".to_owned()];
        args.extend(settings);
        let outcome = host.xl(&args);
        assert_ne!(outcome.status, 0, "{args:?} was accepted");
        let lines: Vec<_> = outcome
            .stderr
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(lines.len(), 1, "{args:?}: {outcome:?}");
        assert!(
            lines[0].contains(word),
            "{args:?}: {word:?} is missing in {:?}",
            lines[0]
        );
    }
    host.assert_clean(&baseline);
}

#[test]
fn a_second_domain_of_the_same_name_is_refused() {
    let host = Host::up("twice", 2, "1G");
    let baseline = host.usage();
    let settings = [
        "create".to_owned(),
        "-p".to_owned(),
        "name=\"twin\"".to_owned(),
        format!("kernel=\"{}\"", image("hello").display()),
        "memory=16".to_owned(),
    ];
    assert_eq!(host.xl(&settings).status, 0);
    let outcome = host.xl(&settings);
    assert_ne!(outcome.status, 0);
    assert!(outcome.stderr.contains("twin"), "{outcome:?}");
    let _ = host.xl_ok(["destroy", "twin"]);
    host.assert_clean(&baseline);
}

#[test]
fn an_unknown_key_gets_a_warning_with_the_nearest_known_one() {
    let host = Host::up("nearest", 1, "1G");
    let settings = [
        "create",
        "-p",
        "name=\"near\"",
        "memroy=16",
        "memory=16",
        &format!("kernel=\"{}\"", image("hello").display()),
    ];
    let outcome = host.xl(settings);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("memroy") && outcome.stderr.contains("memory"),
        "{outcome:?}"
    );
}
