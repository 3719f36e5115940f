//! Networks between two Debians, to the world outside, and over a wire between two bridges.
//!
//! The world outside is QEMU's user network: this machine is 10.0.2.2 there. The wire is a hub that
//! two more cards of the host are plugged into, each the uplink of a bridge of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use radon_tests::{Debian, DiskFile, Host, Patience, Way, rounds, until};

/// Bytes that are sent and compared.
const SENT: usize = 4 << 20;

/// TCP in both directions; several streams at once; datagrams, of one frame and of several.
const RUNS: [&str; 5] = [
    "-n 4M",
    "-R -n 4M",
    "-P 4 -n 4M",
    "-u -b 5M -t 1",
    "-u -R -l 8000 -b 5M -t 1",
];
/// The first ones.
const TCP: &[&str] = &[RUNS[0], RUNS[1]];

/// One end of the wire: whose, on which bridge, and the addresses of its card.
struct End<'a> {
    guest: &'a Debian<'a>,
    bridge: &'static str,
    mac: &'static str,
    address: &'static str,
}

#[test]
fn two_debians_talk_to_each_other_and_to_the_world() {
    let (left_root, right_root) = (DiskFile::root("net-left"), DiskFile::root("net-right"));
    let [left_way, right_way] = Way::new();
    let user = Way::option(&[left_way, right_way]);
    let wire = "--net=hub=0,mtu=9000".to_owned();
    let options = [
        user,
        wire.clone(),
        wire,
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

    serve(&right);
    let to_right = right_way.address();
    iperf_runs(&left, &to_right, &RUNS);
    jumbo_frames_stay_on_a_bridge(&left, &right, &to_right);
    iperf_reaches_the_uplink(&left);
    bytes_reach_the_world_and_come_back(&left);
    frames_cross_the_wire(&host, &left, &right);
    a_stream_survives_restarts_of_the_backend(&host, &left, &to_right);
    cards_come_and_go(&host, &left);

    left.power_off();
    right.power_off();
    left_root.assert_clean();
    right_root.assert_clean();
    host.assert_clean(&baseline);
}

/// Starts iperf3's server, and one on port 7 that sends back what it gets.
fn serve(guest: &Debian<'_>) {
    let _ = guest.run_ok("systemd-run --quiet --unit=iperf-server iperf3 -s");
    let _ = guest.run_ok(
        "systemd-run --quiet --unit=echo systemd-socket-activate --listen=7 --accept --inetd /bin/cat",
    );
}

/// Each run of iperf3 ends well, and something arrives.
fn iperf_runs(guest: &Debian<'_>, to: &str, runs: &[&str]) {
    for options in runs {
        let report = guest.run_ok(&format!("iperf3 -f k -c {to} {options}"));
        // The last such line is the sum; of several streams one may not have had its turn.
        let arrived = report.lines().rfind(|line| line.contains("receiver"));
        assert!(
            arrived.is_some_and(|line| !line.contains(" 0.00 Bytes ")),
            "{options}: {report}"
        );
    }
}

fn jumbo_frames_stay_on_a_bridge(left: &Debian<'_>, right: &Debian<'_>, to_right: &str) {
    for guest in [left, right] {
        let _ = guest.run_ok("ip link set enX0 mtu 9000");
    }
    let _ = left.run_ok(&format!("ping -q -c 3 -M do -s 8900 {to_right}"));
    iperf_runs(left, to_right, TCP);
    for guest in [left, right] {
        let _ = guest.run_ok("ip link set enX0 mtu 1500");
    }
}

/// An iperf3 server on this machine; it ends with this value.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        drop(listener);
        let mut iperf = Command::new("iperf3");
        iperf.args(["--server", "--bind", "127.0.0.1", "--forceflush", "--port"]);
        let iperf = iperf.arg(port.to_string()).stdout(Stdio::piped());
        let mut process = iperf
            .spawn()
            .expect("iperf3 is installed: cargo xtask setup");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut said = lines.by_ref().map_while(Result::ok);
        assert!(said.any(|line| line.contains("listening")), "no server");
        // What it says is read to the end: a full pipe would stop it.
        thread::spawn(move || lines.count());
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn iperf_reaches_the_uplink(guest: &Debian<'_>) {
    let server = Server::start();
    let runs = RUNS.map(|run| format!("{run} -p {}", server.port));
    iperf_runs(guest, "10.0.2.2", &runs.each_ref().map(String::as_str));
}

/// From one guest's bridge by its card and the other's to the other's bridge.
fn frames_cross_the_wire(host: &Host, left: &Debian<'_>, right: &Debian<'_>) {
    let ends = [
        End {
            guest: left,
            bridge: "xenbr1",
            mac: "00:16:3e:52:02:01",
            address: "10.9.0.1",
        },
        End {
            guest: right,
            bridge: "xenbr2",
            mac: "00:16:3e:52:02:02",
            address: "10.9.0.2",
        },
    ];
    for end in &ends {
        plug(host, end);
    }
    let to = ends[1].address;
    for (mtu, alone, fragments) in [(1500, 1472, 8000), (9000, 8972, 20_000)] {
        for end in &ends {
            let _ = end.guest.run_ok(&format!("ip link set enX1 mtu {mtu}"));
        }
        let _ = left.run_ok(&format!("ping -q -c 3 -M do -s {alone} {to}"));
        let _ = left.run_ok(&format!("ping -q -c 3 -M dont -s {fragments} {to}"));
        let too_long = left.run(&format!("ping -q -c 1 -M do -s {} {to}", alone + 1));
        assert_ne!(too_long.status, 0, "{too_long:?}");
        iperf_runs(left, to, &RUNS);
        bytes_come_back(left, to, 7);
    }
    for end in &ends {
        let _ = host.xl_ok(["network-detach", end.guest.name(), end.mac]);
    }
}

/// Gives a guest a card on the wire, which is told what the wire carries.
fn plug(host: &Host, end: &End<'_>) {
    let End { guest, mac, .. } = end;
    let _ = guest.run_ok(&format!(
        "printf '[Match]\nMACAddress={mac}\n[Network]\nAddress={}/24\n' \
         > /run/systemd/network/05-wire.network; networkctl reload",
        end.address
    ));
    let (mac_word, bridge_word) = (format!("mac={mac}"), format!("bridge={}", end.bridge));
    let _ = host.xl_ok(["network-attach", guest.name(), &mac_word, &bridge_word]);
    until("the card on the wire", Patience::SHORT, || {
        let shown = guest.run("ip -4 address show enX1");
        shown.stdout.contains(end.address).then_some(())
    });
    let domain = host.xl_ok(["domid", guest.name()]);
    let node = format!("/local/domain/{}/device/vif/1", domain.trim());
    let nodes = host.xl_ok(["xenstore-ls", &node]);
    assert!(nodes.contains("/mtu = \"9000\""), "{nodes}");
}

/// Sends bytes to a server that sends them back, and compares: checksums may be left to others.
fn bytes_come_back(guest: &Debian<'_>, to: &str, port: u16) {
    let _ = guest.run_ok(&format!(
        "set -e; head -c {SENT} /dev/urandom > /run/sent; \
         exec 3<>/dev/tcp/{to}/{port}; cat /run/sent >&3 & \
         head -c {SENT} <&3 > /run/back; wait; cmp /run/sent /run/back; rm /run/sent /run/back"
    ));
}

fn bytes_reach_the_world_and_come_back(guest: &Debian<'_>) {
    let (port, echo) = echo_server();
    bytes_come_back(guest, "10.0.2.2", port);
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
    let mut stream = guest.start(&format!("iperf3 -c {to} -t {} -b 10M", 10 + 3 * rounds));
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
