//! Networks between two Debians, and to the world outside.
//!
//! The world outside is QEMU's user network: this machine is 10.0.2.2 there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use radon_tests::{Debian, DiskFile, Host, Patience, Way, rounds, until};

const MIB: usize = 1 << 20;

#[test]
#[ignore = "a whole Debian, minutes long: see tests/README.md"]
fn two_debians_talk_to_each_other_and_to_the_world() {
    let (left_root, right_root) = (DiskFile::root("net-left"), DiskFile::root("net-right"));
    let [left_way, right_way] = Way::new();
    let options = [
        Way::option(&[left_way, right_way]),
        left_root.option(),
        right_root.option(),
    ];
    let host = Host::up_with("networks", 2, "2G", &options);
    let baseline = host.usage();
    let left = Debian::create(&host, "left", left_way, &["disk=['phy:/dev/vda,xvda,w']"]);
    let right = Debian::create(
        &host,
        "right",
        right_way,
        &["vcpus=2", "disk=['phy:/dev/vdb,xvda,w']"],
    );
    left.wait();
    right.wait();

    let _ = right.run_ok("systemd-run --quiet --unit=iperf-server iperf3 -s");
    let to_right = right_way.address();
    iperf_runs_both_ways(&left, &to_right);
    for guest in [&left, &right] {
        let _ = guest.run_ok("ip link set enX0 mtu 9000");
    }
    let _ = left.run_ok(&format!("ping -q -c 3 -M do -s 8900 {to_right}"));
    iperf_runs_both_ways(&left, &to_right);
    for guest in [&left, &right] {
        let _ = guest.run_ok("ip link set enX0 mtu 1500");
    }
    bytes_reach_the_world_and_come_back(&left);
    a_stream_survives_restarts_of_the_backend(&host, &left, &to_right);
    cards_come_and_go(&host, &left);

    left.power_off();
    right.power_off();
    left_root.assert_clean();
    right_root.assert_clean();
    host.assert_clean(&baseline);
}

/// TCP in both directions, several streams at once, then UDP.
fn iperf_runs_both_ways(guest: &Debian<'_>, to: &str) {
    for options in ["-n 24M", "-R -n 24M", "-P 4 -n 24M", "-u -b 5M -t 2"] {
        let report = guest.run_ok(&format!("iperf3 -f m -c {to} {options}"));
        assert!(report.contains("receiver"), "{options}: {report}");
    }
}

/// The bytes themselves are compared: checksums may be left to the other side.
fn bytes_reach_the_world_and_come_back(guest: &Debian<'_>) {
    const SENT: usize = 16 * MIB;
    let (port, echo) = echo_server();
    let _ = guest.run_ok(&format!(
        "set -e; head -c {SENT} /dev/urandom > /run/sent; \
         exec 3<>/dev/tcp/10.0.2.2/{port}; cat /run/sent >&3 & \
         head -c {SENT} <&3 > /run/back; wait; cmp /run/sent /run/back; rm /run/sent /run/back"
    ));
    assert_eq!(echo.join().expect("the echo ends well"), SENT);
}

/// Sends back what one connection sends, and counts it.
fn echo_server() -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the guest connects");
        echo(stream)
    });
    (port, thread)
}

fn echo(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        if count == 0 || stream.write_all(&buffer[..count]).is_err() {
            return total;
        }
        total += count;
    }
}

fn a_stream_survives_restarts_of_the_backend(host: &Host, guest: &Debian<'_>, to: &str) {
    let rounds = rounds("RESTARTS", 3);
    let mut stream = guest.start(&format!("iperf3 -c {to} -t {} -b 20M", 10 + 3 * rounds));
    for _ in 0..rounds {
        thread::sleep(std::time::Duration::from_secs(1));
        let _ = host.xl_ok(["backend-restart", "net", guest.name()]);
        let _ = guest.run_ok("ping -q -c 1 -w 30 10.0.2.2");
        assert!(stream.is_running(), "the stream broke off");
    }
    assert!(stream.finish().contains("receiver"));
}

fn cards_come_and_go(host: &Host, guest: &Debian<'_>) {
    for _ in 0..rounds("CYCLES", 5) {
        let spec = "mac=00:16:3e:52:00:01,bridge=other";
        let args = ["network-attach", guest.name()];
        let words = args.into_iter().chain(spec.split(','));
        let outcome = host.xl(words);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        until("the new card", Patience::SHORT, || {
            (guest.run("test -d /sys/class/net/enX1").status == 0).then_some(())
        });
        let _ = host.xl_ok(["network-detach", guest.name(), "00:16:3e:52:00:01"]);
        until("the card's end", Patience::SHORT, || {
            (guest.run("test -d /sys/class/net/enX1").status != 0).then_some(())
        });
    }
}
