//! The verbs as their users see them: words in, text and status out.

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

#[test]
fn devices_are_attached_listed_and_detached() {
    let bench = Bench::new();
    ok(&bench, &format!("create {HELLO} disk=/dev/vda,raw,xvda"));
    ok(&bench, "block-attach a phy:/dev/vdb xvdb r");
    ok(&bench, "network-attach a mac=00:16:3e:00:00:07 bridge=lan");
    let list = ok(&bench, "block-list a");
    assert_eq!(
        list,
        "Vdev  BE  handle state evt-ch ring-ref BE-path                       \n\
         51712 0   1      1     -1     -1       /local/domain/0/backend/vbd/1/51712\n\
         51728 0   1      1     -1     -1       /local/domain/0/backend/vbd/1/51728\n"
    );
    let list = ok(&bench, "network-list a");
    assert_eq!(
        list,
        "Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path                       \n\
         0   0  00:16:3e:00:00:07      0     1     -1    -1/-1          /local/domain/0/backend/vif/1/0\n"
    );
    let long = ok(&bench, "list -l a");
    for part in [
        "\"pdev_path\": \"/dev/vdb\"",
        "\"readwrite\": 0",
        "\"mac\": \"00:16:3e:00:00:07\"",
    ] {
        assert!(long.contains(part), "{long}");
    }
    assert_eq!(
        ok(&bench, "backend-restart blk"),
        "a: disk xvda: backend restarted\na: disk xvdb: backend restarted\n"
    );
    assert_eq!(
        ok(&bench, "backend-restart net a"),
        "a: vif 0: backend restarted\n"
    );
    ok(&bench, "block-detach a xvdb");
    ok(&bench, "block-detach --force a 51712");
    ok(&bench, "network-detach a 00:16:3E:00:00:07");
    assert_eq!(ok(&bench, "block-list a").lines().count(), 1);
    assert_eq!(ok(&bench, "network-list a").lines().count(), 1);
}

#[test]
fn mistakes_with_devices_cost_one_line() {
    let bench = Bench::new();
    ok(
        &bench,
        &format!("create {HELLO} disk=/dev/vda,raw,xvda vif=mac=00:16:3e:00:00:07"),
    );
    for (line, words) in [
        ("block-attach a", "'xl block-attach' requires 2 arguments"),
        (
            "block-attach b /dev/vdb,raw,xvdb",
            "b is an invalid domain identifier",
        ),
        (
            "block-attach a /dev/vdb,xvdb",
            "disk (`/dev/vdb,xvdb`): `xvdb` stands in the place",
        ),
        (
            "block-attach a /dev/vda,raw,xvdb",
            "disk xvdb: /dev/vda is in use by domain a",
        ),
        (
            "block-attach a /dev/vdb,raw,xvda",
            "disk xvda: domain a has one already",
        ),
        (
            "block-detach a xvdb",
            "domain a has no disk xvdb; did you mean xvda?",
        ),
        (
            "network-attach a mac=00:16:3e:00:00:07",
            "vif 1: MAC address 00:16:3e:00:00:07 is in use",
        ),
        (
            "network-attach a brigde=x",
            "vif (`brigde=x`): unknown key `brigde`; did you mean `bridge`?",
        ),
        (
            "network-detach a 3",
            "domain a has no network 3; `xl network-list a` shows all",
        ),
        (
            "backend-restart disk",
            "`disk` is no kind of backend; write blk or net",
        ),
        ("block-list", "'xl block-list' requires 1 argument"),
    ] {
        let books = bench.books();
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(
            ran.err.starts_with(&format!("xl: {words}")),
            "{line}: {}",
            ran.err
        );
        assert_eq!(ran.err.lines().count(), 1);
        assert_eq!(bench.books(), books, "{line}");
    }
}

#[test]
fn memory_is_set_inside_its_limits() {
    let bench = Bench::new();
    ok(&bench, "create name=a kernel=hello memory=16 maxmem=96");
    let node = |name: &str| {
        let path = format!("/local/domain/1/memory/{name}");
        bench
            .toolstack
            .with_store(|store| store.get(&path))
            .unwrap()
    };
    assert_eq!(
        (node("target"), node("static-max")),
        ("16384".into(), "98304".into())
    );
    let domain = guest_abi::DomId::new(1);
    assert_eq!(
        bench
            .hypervisor
            .with(domain, |domain| domain.memory_map_kib),
        98304
    );
    for (line, words) in [
        (
            "mem-set a 97",
            "domain a: 97 MiB is above the domain's maximum of 96 MiB; `xl mem-max`",
        ),
        ("mem-set a 4m", "domain a: 4 MiB is below 8 MiB, the least"),
        (
            "mem-set a 80",
            "domain a: not enough free memory: 64 MiB more wanted, 48 MiB free; shrink or destroy",
        ),
        (
            "mem-max a 8",
            "domain a: 8 MiB is below the domain's target of 16 MiB",
        ),
        ("mem-max a 1t", "domain a: not enough free memory"),
        ("mem-set a lots", "`lots` is no amount of memory"),
        ("mem-set 0 64", "dom0's memory is fixed"),
        ("mem-set a", "'xl mem-set' requires 2 arguments"),
    ] {
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(
            ran.err.starts_with(&format!("xl: {words}")),
            "{line}: {}",
            ran.err
        );
        assert_eq!(node("target"), "16384");
    }
    ok(&bench, "mem-set a 32m");
    assert_eq!(node("target"), "32768");
    let limit = bench
        .hypervisor
        .with(domain, |domain| domain.info.max_pages);
    assert_eq!(limit, (32 + 1) * 256);
    ok(&bench, "mem-max a 33792k");
    assert_eq!(node("static-max"), "33792");
    assert!(
        run(&bench, "mem-set a 40")
            .err
            .contains("maximum of 33 MiB")
    );
}

#[test]
fn files_of_dom0_need_a_file_system_of_dom0() {
    let bench = Bench::new();
    for line in ["ls", "cat /x", "create dom0:/guest.cfg -q"] {
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(ran.err.contains("no file system of its own"), "{}", ran.err);
    }
}

#[test]
fn volumes_are_managed_with_one_verb() {
    let bench = Bench::new();
    let ran = run(&bench, "vol");
    assert!(ran.err.contains("`vol init POOL DEVICE` makes one"));
    for (line, words) in [
        ("vol init p vda", "too small for a pool"),
        ("vol creat p/v 1G", "did you mean `vol create`?"),
        ("vol create p/v 1x", "`1x` is no size"),
        ("vol create p/v 1G", "`vol init POOL DEVICE` makes one"),
        ("vol remove", "'xl vol' requires"),
    ] {
        let ran = run(&bench, line);
        assert_eq!(ran.status, 1, "{line}");
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
    }
}
