//! The host's end of the management channel may go away in the middle of anything.

use std::thread::sleep;
use std::time::Duration;

use radon_tests::{Host, Patience, image, until};

/// A guest that stays until it is told to end.
fn stay(name: &str) -> Vec<String> {
    vec![
        "create".to_owned(),
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", image("hello").display()),
        "memory=16".to_owned(),
        "extra=\"stay\"".to_owned(),
    ]
}

#[test]
fn a_create_that_loses_its_caller_at_any_moment_leaves_a_whole_domain_or_none() {
    let host = Host::up("lost", 2, "1G");
    let baseline = host.usage();
    for delay in [0, 2, 4, 7, 10, 15, 20, 30, 45, 60, 90, 150] {
        let mut caller = host.spawn(stay("orphan"));
        sleep(Duration::from_millis(delay));
        caller.kill().expect("the caller is ours");
        caller.wait().expect("the caller is ours");
        // It takes a moment until the loss is known in dom0, and what was half made undone.
        sleep(Duration::from_millis(200));
        let what = format!("the end of a domain half made after {delay} ms");
        until(&what, Patience::SHORT, || {
            let list = host.xl_ok(["list"]);
            (!list.contains("(null)")).then_some(())
        });
        if host.state("orphan").is_some() {
            host.wait_for_text("orphan", "hello from", Patience::SHORT);
            let _ = host.xl_ok(["destroy", "orphan"]);
        }
    }
    host.assert_clean(&baseline);
}

#[test]
fn a_create_whose_caller_is_lost_while_it_sends_the_kernel_leaves_nothing() {
    let host = Host::up("halfway", 2, "1G");
    let baseline = host.usage();
    let pipe = std::env::temp_dir().join(format!("radon-{}-pipe", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    // A pipe that nobody writes to: the kernel never arrives.
    let mut caller = host.spawn([
        "create".to_owned(),
        "name=\"never\"".to_owned(),
        format!("kernel=\"{}\"", pipe.display()),
    ]);
    sleep(Duration::from_millis(500));
    caller.kill().expect("the caller is ours");
    caller.wait().expect("the caller is ours");
    std::fs::remove_file(&pipe).expect("the pipe is ours");
    assert!(host.state("never").is_none());
    host.assert_clean(&baseline);
}

#[test]
fn a_console_and_a_wait_that_lose_their_callers_leave_the_domain_as_it_was() {
    let host = Host::up("letgo", 2, "1G");
    let baseline = host.usage();
    assert_eq!(host.xl(stay("guest")).status, 0);
    host.wait_for_text("guest", "hello from", Patience::SHORT);
    let _ = host.xl_ok(["pause", "guest"]);
    for words in [&["console", "guest"][..], &["shutdown", "-w", "guest"]] {
        let mut caller = host.spawn(words);
        sleep(Duration::from_millis(300));
        assert!(
            caller.try_wait().expect("the caller is ours").is_none(),
            "{words:?} did not wait"
        );
        caller.kill().expect("the caller is ours");
        caller.wait().expect("the caller is ours");
        assert!(host.state("guest").is_some_and(|state| state.contains('p')));
    }
    // The order to shut down was given and stands.
    let _ = host.xl_ok(["unpause", "guest"]);
    host.wait_until_gone("guest", Patience::SHORT);
    host.assert_clean(&baseline);
}

#[test]
fn two_hosts_side_by_side_know_nothing_of_each_other() {
    let left = Host::up("left", 1, "512M");
    let right = Host::up("right", 1, "512M");
    let baseline = left.usage();
    assert_eq!(left.xl(stay("same")).status, 0);
    assert!(right.state("same").is_none());
    assert_eq!(right.xl(stay("same")).status, 0);
    right.wait_for_text("same", "hello from", Patience::SHORT);
    drop(right);
    left.wait_for_text("same", "hello from", Patience::SHORT);
    let _ = left.xl_ok(["destroy", "same"]);
    left.assert_clean(&baseline);
}

#[test]
fn a_crash_of_the_core_names_its_calls_on_the_serial_port_and_halts() {
    let host = Host::up("corecrash", 2, "512M");
    let mut caller = host.spawn(["debug-keys", "C"]);
    let log = until("the core's last words", Patience::SHORT, || {
        Some(host.serial_log()).filter(|log| log.contains("The machine is halted"))
    });
    caller.kill().expect("the caller is ours");
    caller.wait().expect("the caller is ours");
    let report = log.split("Radon has failed").nth(1).unwrap_or_default();
    assert!(report.contains("asked to by a debug key"), "{log}");
    let calls = report.split("calls:").nth(1).unwrap_or_default();
    assert!(calls.contains("debug::keys::crash"), "no symbol in:\n{log}");
    assert!(calls.contains("sysctl"), "no caller in:\n{log}");
    sleep(Duration::from_millis(300));
    assert_eq!(host.serial_log(), log, "it still speaks");
}
