//! A domain's life, as `xl` shows it.

use radon_tests::{Host, Patience, image, until};

fn hello(name: &str, more: &[&str]) -> Vec<String> {
    let mut settings = vec![
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", image("hello").display()),
        "memory=16".to_owned(),
    ];
    settings.extend(more.iter().map(ToString::to_string));
    settings
}

#[test]
fn a_hello_guest_says_hello_and_goes() {
    let host = Host::up("hello", 2, "1G");
    let baseline = host.usage();
    host.create(&hello("hi", &["on_poweroff=\"preserve\""]));
    let console = host.wait_for_text("hi", "hello from", Patience::SHORT);
    assert_eq!(
        console
            .lines()
            .filter(|line| line.contains("hello from"))
            .count(),
        1
    );
    until("the guest's end", Patience::SHORT, || {
        host.state("hi").filter(|state| state.contains('s'))
    });
    let _ = host.xl_ok(["destroy", "hi"]);
    host.wait_until_gone("hi", Patience::SHORT);
    host.assert_clean(&baseline);
}

#[test]
fn a_line_printed_just_before_the_end_is_kept() {
    let host = Host::up("oneline", 1, "1G");
    let baseline = host.usage();
    for round in 0..5 {
        let name = format!("one{round}");
        host.create(&[
            format!("name=\"{name}\""),
            format!("kernel=\"{}\"", image("oneline").display()),
            "memory=16".to_owned(),
            "on_poweroff=\"preserve\"".to_owned(),
        ]);
        host.wait_for_text(&name, "last words", Patience::SHORT);
        let _ = host.xl_ok(["destroy", &name]);
    }
    host.assert_clean(&baseline);
}

#[test]
fn a_paused_guest_stands_still_and_an_unpaused_one_goes_on() {
    let host = Host::up("pause", 2, "1G");
    let baseline = host.usage();
    let mut args = vec!["create".to_owned(), "-p".to_owned()];
    args.extend(hello("still", &[]));
    assert_eq!(host.xl(&args).status, 0);
    assert!(host.state("still").is_some_and(|state| state.contains('p')));
    assert_eq!(host.console("still"), "");
    let _ = host.xl_ok(["unpause", "still"]);
    host.wait_until_gone("still", Patience::SHORT);
    host.assert_clean(&baseline);
}

#[test]
fn a_guest_with_two_vcpus_and_user_mode_works_on_any_number_of_cpus() {
    for cpus in [1, 2, 4] {
        let host = Host::up(&format!("smp{cpus}"), cpus, "1G");
        let baseline = host.usage();
        host.create(&[
            "name=\"smp\"".to_owned(),
            format!("kernel=\"{}\"", image("smp").display()),
            "memory=32".to_owned(),
            "vcpus=2".to_owned(),
            "on_poweroff=\"preserve\"".to_owned(),
        ]);
        let console = host.wait_for_text("smp", "verdict:", Patience::SHORT);
        assert!(console.contains("verdict: ok"), "{console}");
        let _ = host.xl_ok(["destroy", "smp"]);
        host.assert_clean(&baseline);
    }
}

#[test]
fn a_guest_that_measures_hypercalls_and_traps_gets_through_them_all() {
    let host = Host::up("bench", 1, "1G");
    let baseline = host.usage();
    host.create(&[
        "name=\"bench\"".to_owned(),
        format!("kernel=\"{}\"", image("bench").display()),
        "memory=32".to_owned(),
        "on_poweroff=\"preserve\"".to_owned(),
    ]);
    let console = host.wait_for_text("bench", "verdict:", Patience::SHORT);
    assert!(console.contains("verdict: ok"), "{console}");
    let _ = host.xl_ok(["destroy", "bench"]);
    host.assert_clean(&baseline);
}

/// The core's start once wrote over its own first page tables; what that hit depended on the
/// size of memory.
#[test]
fn hosts_of_little_memory_boot_as_well() {
    for memory in ["400M", "512M", "640M"] {
        let host = Host::up(&format!("little{memory}"), 1, memory);
        assert!(host.xl_ok(["list"]).contains("Domain-0"));
        host.assert_clean(&host.usage());
    }
}
