//! Loads on a network: TCP streams and round trips, between two guests and to the world outside.

use std::iter;

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::meter::{self, float};
use super::peer::Peer;
use super::shell::{Guest, Shell};
use super::table::{Table, count, rate};
use crate::client::Session;
use crate::progress::Step;

/// The two guests, their cards and addresses.
const LEFT: (&str, &str, &str) = ("bench-left", "00:16:3e:52:42:01", "10.0.2.101");
const RIGHT: (&str, &str, &str) = ("bench-right", "00:16:3e:52:42:02", "10.0.2.102");
/// A guest without Linux, which serves what [`peer`](super::peer) serves.
const BARE: (&str, &str) = ("bench-bare", "10.0.2.103");
const BARE_PORT: u16 = 9;
/// This machine, to guests.
const OUTSIDE: &str = "10.0.2.2";
/// What `dd` moves at once.
const CHUNK: u64 = 128 << 10;

/// One load, driven by the left guest.
#[derive(Debug)]
struct Load {
    title: &'static str,
    kind: Kind,
    /// Xen 4.17 with a Linux dom0 in the same QEMU.
    xen: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `iperf3` from here to the right guest, or back.
    Stream { back: bool },
    /// `dd` to a socket of the bare guest, or from one.
    Bare { back: bool },
    /// `dd` to a socket of this machine, or from one.
    Uplink { back: bool },
    /// `ping`.
    Trip { to: &'static str },
}

const fn load(title: &'static str, kind: Kind, xen: &'static str) -> Load {
    Load { title, kind, xen }
}

const LOADS: [Load; 8] = [
    load("TCP, domU to domU", Kind::Stream { back: false }, "3.10"),
    load(
        "TCP, back from that domU",
        Kind::Stream { back: true },
        "3.18",
    ),
    // Xen's dom0 is a Linux, and an end of streams itself: the nearest there is.
    load(
        "TCP, domU to bare domU",
        Kind::Bare { back: false },
        "2.23 (to dom0)",
    ),
    load(
        "TCP, bare domU to domU",
        Kind::Bare { back: true },
        "2.01 (from dom0)",
    ),
    load("TCP, domU to uplink", Kind::Uplink { back: false }, "14.9"),
    load("TCP, uplink to domU", Kind::Uplink { back: true }, "4.70"),
    load("ping, domU to domU", Kind::Trip { to: RIGHT.2 }, "121,000"),
    load("ping, domU to uplink", Kind::Trip { to: OUTSIDE }, "77,300"),
];

impl Kind {
    /// A small and a large load: bytes, or round trips.
    fn sizes(self) -> [u64; 2] {
        match self {
            Self::Stream { .. } | Self::Bare { .. } => [64 * CHUNK, 2064 * CHUNK],
            Self::Uplink { .. } => [64 * CHUNK, 564 * CHUNK],
            Self::Trip { .. } => [500, 5_500],
        }
    }

    /// The guest's line.
    fn line(self, size: u64, port: u16) -> String {
        match self {
            Self::Stream { back } => {
                let way = if back { " -R" } else { "" };
                format!("iperf3 -f m -c {} -n {size}{way}", RIGHT.2)
            }
            Self::Bare { back } => dd((BARE.1, BARE_PORT), size, back),
            Self::Uplink { back } => dd((OUTSIDE, port), size, back),
            Self::Trip { to } => format!("ping -q -f -c {size} {to}"),
        }
    }
}

/// A stream to or from whoever serves there, and what `dd` says of it.
fn dd((address, port): (&str, u16), size: u64, back: bool) -> String {
    let (wanted, ends) = if back {
        (size, "of=/dev/null <&3".to_owned())
    } else {
        (0, format!("if=/dev/zero count={} >&3", size / CHUNK))
    };
    format!(
        "bash -c 'exec 3<>/dev/tcp/{address}/{port}; echo {wanted} >&3; \
         LC_ALL=C dd bs={CHUNK} 2>&1 {ends}'"
    )
}

/// The guests, and the world outside.
struct Net {
    left: Shell,
    /// It serves; nobody types.
    _right: Shell,
    peer: Peer,
}

impl Net {
    fn create(bench: &Bench<'_>) -> Result<Self> {
        let create = |(name, mac, _)| {
            let guest = Guest {
                name,
                disks: &[],
                mac: Some(mac),
            };
            Shell::create(bench.host, bench.image, &guest)
        };
        let (mut left, mut right) = (create(LEFT)?, create(RIGHT)?);
        for (shell, address) in [(&mut left, LEFT.2), (&mut right, RIGHT.2)] {
            shell.wait()?;
            shell.run("ip link set lo up")?;
            shell.run(&format!(
                "ip addr add {address}/24 dev enX0; ip link set enX0 up"
            ))?;
        }
        right.run("iperf3 -s -D")?;
        create_bare(bench)?;
        // It serves once it answers.
        left.run(&format!("ping -q -c 1 -w 20 {}", BARE.1))?;
        Ok(Self {
            left,
            _right: right,
            peer: Peer::listen()?,
        })
    }

    /// Does it, and tells at what speed: megabytes a second, or microseconds for a round trip.
    fn run(&mut self, kind: Kind, size: u64) -> Result<f64> {
        let said = self.left.run(&kind.line(size, self.peer.port()))?;
        let speed = match kind {
            Kind::Stream { .. } => speed_of_iperf(&said),
            Kind::Bare { .. } => speed_of_dd(&said, size),
            Kind::Trip { .. } => time_of_ping(&said),
            Kind::Uplink { .. } => {
                let talk = self.peer.end()?;
                ensure!(
                    talk.bytes == size,
                    "{} bytes of {size} came across",
                    talk.bytes
                );
                Some(float(talk.bytes) / talk.time.as_secs_f64() / 1e6)
            }
        };
        speed.with_context(|| format!("no figures in {said:?}"))
    }
}

/// Our own guest `net`, on the same bridge.
fn create_bare(bench: &Bench<'_>) -> Result<()> {
    let (name, address) = BARE;
    let kernel = bench.guests.join("net");
    let settings = [
        format!("name=\"{name}\""),
        format!("kernel=\"{}\"", kernel.display()),
        "memory=64".to_owned(),
        "vif=['bridge=xenbr0']".to_owned(),
        format!("extra=\"serve port={BARE_PORT} ip={address}/24\""),
    ];
    let words = settings.iter().map(String::as_str);
    let argv: Vec<_> = iter::once("create").chain(words).collect();
    Session::run_well(bench.host, &argv).map(drop)
}

/// From `270532608 bytes (271 MB, 258 MiB) copied, 0.5121 s, 528 MB/s`, which must be all.
fn speed_of_dd(said: &str, size: u64) -> Option<f64> {
    let line = said.lines().rfind(|line| line.contains(" copied, "))?;
    let bytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    let (_, after) = line.split_once(" copied, ")?;
    let seconds: f64 = after.split(" s,").next()?.parse().ok()?;
    (bytes == size).then(|| float(bytes) / seconds / 1e6)
}

/// From `[  5]   0.00-0.52   sec  256 MBytes  4130 Mbits/sec                  receiver`.
fn speed_of_iperf(said: &str) -> Option<f64> {
    let line = said.lines().rfind(|line| line.ends_with("receiver"))?;
    let (before, _) = line.split_once(" Mbits/sec")?;
    let megabits: f64 = before.split_whitespace().last()?.parse().ok()?;
    Some(megabits / 8.0)
}

/// From `rtt min/avg/max/mdev = 0.051/0.071/1.003/0.020 ms, …`.
fn time_of_ping(said: &str) -> Option<f64> {
    let (_, times) = said.split_once("min/avg/max/mdev = ")?;
    let mean: f64 = times.split('/').nth(1)?.parse().ok()?;
    Some(mean * 1e3)
}

/// Runs all of them with two guests.
pub(super) fn run(bench: &Bench<'_>, step: &Step) -> Result<Table> {
    step.at("booting two Debians");
    let mut net = Net::create(bench)?;
    let mut table = if bench.icount {
        Table::new(&[
            "load",
            "instructions for",
            "this guest",
            "the other",
            "dom0",
            "together",
            "Xen 4.17",
        ])
    } else {
        Table::new(&["load", "MB/s", "µs"])
    };
    for load in LOADS.iter().filter(|load| load.title.contains(bench.only)) {
        step.at(load.title);
        let cells = if bench.icount {
            costs(bench, &mut net, load)?
        } else {
            speeds(&mut net, load)?
        };
        step.say(&table.row(load.title, cells));
        step.advance();
    }
    bench.end(LEFT.0)?;
    bench.end(RIGHT.0)?;
    bench.end(BARE.0)?;
    Ok(table)
}

fn costs(bench: &Bench<'_>, net: &mut Net, load: &Load) -> Result<Vec<String>> {
    let cost = meter::measure(bench.host, load.kind.sizes(), |size| {
        net.run(load.kind, size).map(drop)
    })?;
    let (unit, show): (_, fn(f64) -> String) = match load.kind {
        Kind::Trip { .. } => ("a round trip", count),
        _ => ("a byte", rate),
    };
    // Only one of the others has anything to do.
    let other = cost.of(RIGHT.0) + cost.of(BARE.0);
    let parts = [cost.of(LEFT.0), other, cost.of("Domain-0"), cost.total()];
    let mut cells = vec![unit.to_owned()];
    cells.extend(parts.map(show));
    cells.push(load.xen.to_owned());
    Ok(cells)
}

fn speeds(net: &mut Net, load: &Load) -> Result<Vec<String>> {
    let [warm_up, size] = load.kind.sizes();
    net.run(load.kind, warm_up)?;
    let speed = net.run(load.kind, size)?;
    Ok(match load.kind {
        Kind::Trip { .. } => vec![String::new(), count(speed)],
        _ => vec![rate(speed), String::new()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tools_say_is_understood() {
        let iperf = "[  5]   0.00-0.50   sec  250 MBytes  4199 Mbits/sec    0             sender\n\
            [  5]   0.00-0.50   sec  250 MBytes  4000 Mbits/sec                  receiver\n\n";
        assert_eq!(speed_of_iperf(iperf), Some(500.0));
        let ping = "5 packets\nrtt min/avg/max/mdev = 0.051/0.075/1.003/0.020 ms, ipg/ewma 1/2 ms";
        assert_eq!(time_of_ping(ping), Some(75.0));
        let dd = "2+0 records in\n2000000 bytes (2 MB, 1.9 MiB) copied, 0.01 s, 200 MB/s\n";
        assert_eq!(speed_of_dd(dd, 2_000_000), Some(200.0));
        assert_eq!(speed_of_dd(dd, 2_000_001), None);
        assert_eq!(
            (speed_of_iperf("iperf3: error"), time_of_ping("")),
            (None, None)
        );
    }

    #[test]
    fn each_way_is_a_line_of_its_own() {
        let up = Kind::Uplink { back: false }.line(2 * CHUNK, 9);
        assert!(up.contains("/10.0.2.2/9; echo 0 >&3; "));
        assert!(up.contains(" dd bs=131072 2>&1 if=/dev/zero count=2 >&3"));
        let down = Kind::Uplink { back: true }.line(CHUNK, 9);
        assert!(down.contains("echo 131072 >&3; LC_ALL=C dd bs=131072 2>&1 of=/dev/null <&3"));
    }
}
