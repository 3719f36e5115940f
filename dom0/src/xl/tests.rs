//! The verbs as their users see them: words in, text and status out.

mod devices;

use guest_abi::sched::ShutdownReason;

use super::Xl;
use crate::builder::tests::good_elf;
use crate::io::{Caller, FileError, FileStream, Output, Stdio};
use crate::toolstack::tests::Bench;

/// What a run came to.
#[derive(Debug, Default)]
struct Ran {
    status: u8,
    out: String,
    err: String,
}

/// Files of the test's caller.
fn file(path: &str) -> Result<Vec<u8>, FileError> {
    match path {
        "hello" => Ok(good_elf()),
        "half" => Ok(good_elf()[..3000].to_vec()),
        "text" => Ok(b"this is no kernel\n".to_vec()),
        "guest.cfg" => Ok(b"name='cfg'\nkernel='hello'\nmemory=16\nmemroy=3\n".to_vec()),
        _ => Err(FileError::Refused("No such file or directory".into())),
    }
}

/// Runs a line with this input.
fn run_with(bench: &Bench, line: &str, input: &[&[u8]]) -> Ran {
    let words = crate::shell::split(line).unwrap();
    let xl = Xl::new(bench.toolstack.clone());
    let (stdio, caller) = Stdio::new();
    let Caller {
        input: typed,
        output,
        files,
    } = caller;
    for bytes in input {
        typed.try_send(bytes.to_vec()).unwrap();
    }
    drop(typed);
    bench.runtime.spawn(async move {
        while let Ok(request) = files.recv().await {
            let answer = file(&request.path).map(|bytes| {
                let (stream, feed) = FileStream::new(bytes.len() as u64);
                feed.try_send(Ok(bytes)).unwrap();
                stream
            });
            let _ = request.reply.send(answer).await;
        }
    });
    let command = bench
        .runtime
        .spawn(async move { xl.execute(words, stdio).await });
    bench.run(async move {
        let mut ran = Ran::default();
        while let Ok(piece) = output.recv().await {
            match piece {
                Output::Out(bytes) => ran.out.push_str(&String::from_utf8(bytes).unwrap()),
                Output::Err(bytes) => ran.err.push_str(&String::from_utf8(bytes).unwrap()),
            }
        }
        ran.status = command.join().await.unwrap();
        ran
    })
}

fn run(bench: &Bench, line: &str) -> Ran {
    run_with(bench, line, &[])
}

/// A run that must succeed; its output.
fn ok(bench: &Bench, line: &str) -> String {
    let ran = run(bench, line);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{line}");
    ran.out
}

const HELLO: &str = "name=a kernel=hello memory=16";

#[test]
fn list_prints_xls_own_columns() {
    let bench = Bench::new();
    ok(&bench, &format!("create -p vcpus=2 {HELLO}"));
    let text = ok(&bench, "list");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    );
    assert_eq!(
        lines[1],
        "a                                            1    16     1     --p---       0.0"
    );
    assert_eq!(ok(&bench, "list a"), text);
    assert_eq!(ok(&bench, "list 1"), text);
    ok(&bench, "unpause a");
    assert!(ok(&bench, "list").contains("-b----"));
    ok(&bench, "pause a");
    assert!(ok(&bench, "list").contains("-bp---"));
}

#[test]
fn list_long_and_json_are_json() {
    let bench = Bench::new();
    ok(&bench, &format!("create extra='say \"x\"' {HELLO}"));
    let long = ok(&bench, "list -l");
    for part in [
        "\"domid\": 1",
        "\"name\": \"a\"",
        "\"cmdline\": \"say \\\"x\\\"\"",
    ] {
        assert!(long.contains(part), "{part}: {long}");
    }
    assert!(ok(&bench, "list --json").contains("\"state\": \"-b----\""));
}

#[test]
fn a_crashed_domain_is_shown_as_such() {
    let bench = Bench::new();
    ok(&bench, &format!("create on_crash=preserve {HELLO}"));
    let guest = bench.toolstack.guests().pop().unwrap();
    bench.end(&guest, ShutdownReason::Crash);
    assert!(ok(&bench, "list").contains("---sc-"));
    let ran = run(&bench, "shutdown a");
    assert!(ran.err.contains("has ended already"), "{ran:?}");
    ok(&bench, "destroy a");
    assert_eq!(ok(&bench, "list").lines().count(), 1);
}

#[test]
fn names_and_ids_lead_to_each_other() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO}"));
    assert_eq!(ok(&bench, "domid a"), "1\n");
    assert_eq!(ok(&bench, "domname 1"), "a\n");
    assert_eq!(ok(&bench, "domname 0"), "Domain-0\n");
    for (line, words) in [
        ("domid b", "Can't get domid of domain name 'b'"),
        ("domname 9", "Can't get domain name of domain id '9'"),
        ("domname x", "Invalid domain id 'x'"),
        (
            "destroy b",
            "b is an invalid domain identifier; `xl list` shows all",
        ),
        ("destroy 0", "cannot destroy privileged domain 0"),
        (
            "destroy",
            "'xl destroy' requires 1 argument: xl destroy DOMAIN",
        ),
        ("list -z", "list: unknown option -z; see `xl help list`"),
        ("lst", "command 'lst' not implemented; did you mean `list`?"),
    ] {
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(
            ran.err.starts_with(&format!("xl: {words}")),
            "{line}: {}",
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 1);
    }
}

#[test]
fn each_mistake_gets_one_line_and_leaves_nothing() {
    let bench = Bench::new();
    for (line, words) in [
        (
            "create name=a kernel=/nowhere memory=16",
            "/nowhere: No such file or directory",
        ),
        (
            "create name=a memory=16",
            "command line: `kernel` is missing",
        ),
        ("create name=a kernel=half memory=16", "half: truncated"),
        (
            "create name=a kernel=text memory=16",
            "text: not a PV-capable kernel: it is a text file",
        ),
        (
            "create name=a kernel=hello ramdisk=half memory=much",
            "command line: `memory` must be",
        ),
        (
            "create name=a kernel=hello memory=4096",
            "a: not enough memory: 4096 MiB asked for, 64 MiB free",
        ),
        (
            "create name=a kernel=hello memory=1",
            "a: not enough memory for this kernel",
        ),
        (
            "create nothing.cfg",
            "nothing.cfg: No such file or directory",
        ),
        ("create", "'xl create' requires 1 argument"),
        (
            "create name=a kernel=hello memory=16 disk=/x,xvda",
            "command line: disk 1 (`/x,xvda`): `xvda` stands in the place of the format",
        ),
        (
            "create name=a kernel=hello memory=16 disk=/dev/vdx,raw,xvda",
            "disk xvda: /dev/vdx: no such disk",
        ),
        (
            "create name=a kernel=hello memory=16 disk=/dev/vdc,raw,xvda",
            "disk xvda: /dev/vdc cannot be written",
        ),
        (
            "create name=a kernel=hello memory=16 vif=bridge=xenbr3",
            "vif 0: bridge xenbr3 wants a card eth3",
        ),
        (
            "create name=a kernel=hello memory=16 vif=mac=1",
            "command line: vif 1 (`mac=1`): `1` is no MAC address",
        ),
    ] {
        let books = bench.hypervisor.books();
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{line}: {}", ran.err);
        assert_eq!(bench.hypervisor.books(), books, "{line}");
    }
}

#[test]
fn a_file_and_settings_make_a_domain_and_doubts_are_told() {
    let bench = Bench::new();
    let ran = run(&bench, "create guest.cfg memory=20");
    assert_eq!(ran.status, 0);
    assert_eq!(ran.out, "Parsing config from guest.cfg\n");
    assert!(ran.err.contains("did you mean `memory`?"), "{}", ran.err);
    assert!(ok(&bench, "list cfg").contains("   20 "));
}

#[test]
fn the_console_is_replayed_and_takes_what_is_typed() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO}"));
    let guest = bench.toolstack.guests().pop().unwrap();
    bench.print(&guest, "hello \x1b[31mred\n");
    assert_eq!(ok(&bench, "console --log a"), "hello red\n");
    let ran = run_with(&bench, "console a", &[b"typed", b"\x1d"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "hello \x1b[31mred\n"));
    bench.settle();
    let written = guest.type_in(&[b'x'; 8192]);
    assert!(written < 8192, "what nobody reads is bounded");
}

#[test]
fn an_attached_console_ends_with_its_domain() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO}"));
    let guest = bench.toolstack.guests().pop().unwrap();
    bench.print(&guest, "one\n");
    let (hypervisor, platform) = (bench.hypervisor.clone(), bench.platform.clone());
    let (runtime, domain) = (bench.runtime.clone(), guest.domain());
    bench.runtime.spawn(async move {
        runtime.yield_now().await;
        hypervisor.shut_down(domain, ShutdownReason::Poweroff);
        platform
            .events
            .borrow_mut()
            .push_back(guest_abi::Port::new(1));
    });
    let ran = run(&bench, "console a");
    assert_eq!((ran.status, ran.out.as_str()), (0, "one\n"));
}

#[test]
fn shutdown_asks_through_xenstore_and_can_wait() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO}"));
    let path = "/local/domain/1/control/shutdown";
    assert_eq!(ok(&bench, "shutdown a"), "Shutting down domain 1\n");
    let asked = |bench: &Bench| bench.toolstack.with_store(|store| store.get(path));
    assert_eq!(asked(&bench).as_deref(), Some("poweroff"));
    ok(&bench, "reboot a");
    assert_eq!(asked(&bench).as_deref(), Some("reboot"));
    let guest = bench.toolstack.guests().pop().unwrap();
    let (hypervisor, platform) = (bench.hypervisor.clone(), bench.platform.clone());
    let runtime = bench.runtime.clone();
    bench.runtime.spawn(async move {
        runtime.yield_now().await;
        hypervisor.shut_down(guest.domain(), ShutdownReason::Poweroff);
        platform
            .events
            .borrow_mut()
            .push_back(guest_abi::Port::new(1));
    });
    assert!(ok(&bench, "shutdown -w a").contains("Domain 1 has ended"));
    assert_eq!(ok(&bench, "list").lines().count(), 1);
}

#[test]
fn the_host_tells_of_itself() {
    let bench = Bench::new();
    ok(&bench, &format!("create vcpus=2 {HELLO}"));
    let info = ok(&bench, "info");
    for line in [
        "nr_cpus                : 2",
        "free_memory            : 48",
        "xen_version            : 4.17.radon",
    ] {
        assert!(info.lines().any(|l| l == line), "{line}: {info}");
    }
    assert_eq!(ok(&bench, "dmesg"), "(XEN) hello\n");
    assert!(ok(&bench, "uptime").contains("0:00:00"));
    let vcpus = ok(&bench, "vcpu-list a");
    assert_eq!(vcpus.lines().count(), 3);
    assert!(vcpus.contains("  -b-        0.0  all / all"), "{vcpus}");
    assert!(ok(&bench, "xenstore-ls").contains("/local/domain/1/name = \"a\"   (n0,r1)\n"));
    assert_eq!(
        run(&bench, "xenstore-ls").out.lines().next().unwrap(),
        "/libxl = \"\"   (n0)"
    );
}

#[test]
fn every_verb_has_help() {
    let bench = Bench::new();
    let all = ok(&bench, "help");
    for verb in Xl::verbs() {
        assert!(all.contains(&format!(" {verb} ")), "{verb}");
        assert!(ok(&bench, &format!("help {verb}")).starts_with(&format!("Usage: xl {verb}")));
        assert!(ok(&bench, &format!("{verb} --help")).starts_with(&format!("Usage: xl {verb}")));
    }
}

#[test]
fn the_host_is_not_powered_off_under_a_domain_by_a_slip() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO}"));
    assert_eq!(run(&bench, "poweroff").status, 1);
    ok(&bench, "destroy a");
    ok(&bench, "poweroff");
    let runtime = bench.runtime.clone();
    bench.run(async move { runtime.sleep(core::time::Duration::from_secs(1)).await });
    assert!(bench.hypervisor.is_off());
}
