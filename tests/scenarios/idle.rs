//! No polling: who waits executes nothing.

use std::thread::sleep;
use std::time::Duration;

use radon_tests::{DiskFile, Host, Patience, image};

/// What dom0's vCPU has executed so far. On a host whose clock counts instructions, a nanosecond is
/// one of them.
fn executed(host: &Host) -> u64 {
    let list = host.xl_ok(["list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("the list is JSON");
    let time = list[0]["cpu_time_ns"].as_u64();
    time.unwrap_or_else(|| panic!("dom0's time is not in {list}"))
}

#[test]
fn an_idle_dom0_executes_nothing() {
    let disks = [
        DiskFile::empty("idle-disk", 32),
        DiskFile::empty("idle-line", 32),
    ];
    let options = [
        disks[0].option(),
        format!("{},intx", disks[1].option()),
        // Without announcements from the world outside.
        "--net=user,ipv6=off".to_owned(),
        "--icount".to_owned(),
    ];
    let host = Host::up_with("idle", 1, "1G", &options);
    let baseline = host.usage();
    host.create(&[
        "name=\"waits\"".to_owned(),
        format!("kernel=\"{}\"", image("net").display()),
        "extra=\"echo ip=10.0.2.20/24 gateway=10.0.2.2\"".to_owned(),
        "memory=64".to_owned(),
        "vif=['bridge=xenbr0']".to_owned(),
        "disk=['phy:/dev/vda,xvda,w','phy:/dev/vdb,xvdb,w']".to_owned(),
    ]);
    let _ = host.wait_for_text("waits", "address ", Patience::SHORT);

    // The question itself costs something, and never quite the same.
    let asked: Vec<_> = (0..5).map(|_| executed(&host)).collect();
    let question = asked.windows(2).map(|pair| pair[1] - pair[0]).max();
    let question = question.expect("it was asked more than once");
    let before = executed(&host);
    sleep(Duration::from_secs(5));
    let meanwhile = executed(&host) - before;
    assert!(
        meanwhile <= question * 3 / 2,
        "{meanwhile} instructions in five seconds; a question costs {question}"
    );
    let _ = host.xl_ok(["destroy", "waits"]);
    host.assert_clean(&baseline);
}
