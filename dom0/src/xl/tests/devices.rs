//! Disks, networks, memory and volumes, by their verbs.

use super::{Bench, HELLO, ok, run};

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
