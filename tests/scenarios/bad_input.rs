//! A user's mistake gets one line that says what is wrong, and leaves nothing behind.

use std::fs;
use std::path::PathBuf;

use radon_tests::{Host, image};

fn scratch(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("radon-{}-{name}", std::process::id()));
    fs::write(&path, bytes).expect("the temporary folder takes files");
    path
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
    let kernel = |path: PathBuf| format!("kernel=\"{}\"", path.display());
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
            vec!["name=\"a\"".into(), kernel(half), "memory=16".into()],
            "half",
        ),
        (
            vec!["name=\"a\"".into(), kernel(text), "memory=16".into()],
            "text",
        ),
        (
            vec!["name=\"a\"".into(), kernel(gz), "memory=16".into()],
            "gz",
        ),
    ]
}

#[test]
fn each_mistake_gets_one_clear_line_and_leaves_nothing_behind() {
    let host = Host::up("badinput", 2, "1G");
    let baseline = host.usage();
    for (settings, word) in mistakes() {
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
