//! What becomes of a domain at its end is what its configuration says.

use radon_tests::{Host, Patience, image, until};

fn stay(name: &str, more: &[&str]) -> Vec<String> {
    let mut settings = vec![
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", image("hello").display()),
        "memory=16".to_owned(),
        "extra=\"stay\"".to_owned(),
    ];
    settings.extend(more.iter().map(ToString::to_string));
    settings
}

#[test]
fn a_reboot_makes_the_domain_anew_under_its_old_name() {
    let host = Host::up("reboot", 2, "1G");
    let baseline = host.usage();
    host.create(&stay("again", &[]));
    host.wait_for_text("again", "hello from", Patience::SHORT);
    let first = host.xl_ok(["domid", "again"]);
    let _ = host.xl_ok(["reboot", "again"]);
    until("another domain of that name", Patience::SHORT, || {
        let now = host.xl(["domid", "again"]);
        (now.status == 0 && now.stdout != first).then_some(())
    });
    host.wait_for_text("again", "hello from", Patience::SHORT);
    let _ = host.xl_ok(["shutdown", "-w", "again"]);
    host.wait_until_gone("again", Patience::SHORT);
    host.assert_clean(&baseline);
}

#[test]
fn on_reboot_says_what_a_reboot_does() {
    let host = Host::up("onreboot", 2, "1G");
    let baseline = host.usage();
    host.create(&stay("ends", &["on_reboot=\"destroy\""]));
    host.create(&stay("keeps", &["on_reboot=\"preserve\""]));
    for name in ["ends", "keeps"] {
        host.wait_for_text(name, "hello from", Patience::SHORT);
        let _ = host.xl_ok(["reboot", name]);
    }
    host.wait_until_gone("ends", Patience::SHORT);
    until("the preserved domain", Patience::SHORT, || {
        host.state("keeps").filter(|state| state.contains('s'))
    });
    let _ = host.xl_ok(["destroy", "keeps"]);
    host.assert_clean(&baseline);
}

#[test]
fn create_with_a_console_shows_everything_and_ends_with_the_domain() {
    let host = Host::up("createc", 2, "1G");
    let baseline = host.usage();
    let mut args = vec!["create".to_owned(), "-c".to_owned()];
    args.extend(stay("shown", &["extra=\"\""]));
    let outcome = host.xl(&args);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.stdout.matches("hello from").count(), 1);
    host.wait_until_gone("shown", Patience::SHORT);
    host.assert_clean(&baseline);
}

#[test]
fn the_long_list_and_the_json_list_name_every_domain() {
    let host = Host::up("json", 1, "1G");
    let baseline = host.usage();
    host.create(&stay("listed", &["vcpus=2", "maxmem=24"]));
    for option in ["-l", "--json"] {
        let text = host.xl_ok(["list", option]);
        let list: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let list = list.as_array().expect("it is a list");
        assert_eq!(list.len(), 2, "{text}");
        assert_eq!(list[0]["domid"], 0);
        let (about, size) = (&list[1]["config"]["c_info"], &list[1]["config"]["b_info"]);
        let name = if option == "-l" {
            &about["name"]
        } else {
            &list[1]["name"]
        };
        assert_eq!(name, "listed", "{text}");
        if option == "-l" {
            assert_eq!(size["max_vcpus"], 2);
            // The limit has some slack above what was asked for.
            assert!(size["max_memkb"].as_u64() >= Some(24 << 10), "{text}");
        } else {
            assert_eq!(list[1]["memory_mib"], 16);
        }
    }
    let _ = host.xl_ok(["destroy", "listed"]);
    host.assert_clean(&baseline);
}
