//! Loads on a disk: `dd` in order, one request at a time, and `fio` at random places.

use anyhow::{Context, Result};

use super::Bench;
use super::meter::{self, float};
use super::shell::{Guest, Shell};
use super::table::{Table, count, rate};
use crate::progress::Step;

/// How long `fio` runs where time is what counts.
const RUNTIME_S: u32 = 6;

/// One load.
#[derive(Debug)]
struct Load {
    title: &'static str,
    tool: Tool,
    write: bool,
    block_kib: u64,
    /// Xen 4.17 with a Linux dom0 in the same QEMU.
    xen: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Tool {
    Dd,
    Fio { depth: u32 },
}

const fn load(title: &'static str, tool: Tool, write: bool, xen: Option<u64>) -> Load {
    Load {
        title,
        tool,
        write,
        block_kib: 4,
        xen,
    }
}

const fn large(title: &'static str, write: bool, xen: u64) -> Load {
    Load {
        block_kib: 1024,
        ..load(title, Tool::Dd, write, Some(xen))
    }
}

const ONE: Tool = Tool::Fio { depth: 1 };
const MANY: Tool = Tool::Fio { depth: 32 };

/// The first one fills the disk, so that whatever is read was once written.
const LOADS: [Load; 8] = [
    large("1 MiB write, in order", true, 841_000),
    large("1 MiB read, in order", false, 912_000),
    load("4 KiB write, in order", Tool::Dd, true, Some(50_200)),
    load("4 KiB read, in order", Tool::Dd, false, Some(52_900)),
    load("4 KiB random write", ONE, true, None),
    load("4 KiB random read", ONE, false, None),
    load("4 KiB random write, 32 at a time", MANY, true, None),
    load("4 KiB random read, 32 at a time", MANY, false, None),
];

impl Load {
    /// A small and a large number of operations.
    fn counts(&self) -> [u64; 2] {
        if self.block_kib == 4 {
            [1_000, 21_000]
        } else {
            [50, 1_050]
        }
    }

    /// The guest's line for so many operations; without a number, `fio` runs for a while.
    fn line(&self, operations: Option<u64>) -> String {
        let block = format!("{}k", self.block_kib);
        match self.tool {
            Tool::Dd => {
                let count = operations.unwrap_or(self.counts()[1]);
                let way = if self.write {
                    "if=/dev/zero of=/dev/xvdb oflag=direct"
                } else {
                    "if=/dev/xvdb of=/dev/null iflag=direct"
                };
                format!("dd {way} bs={block} count={count}")
            }
            Tool::Fio { depth } => {
                let rw = if self.write { "randwrite" } else { "randread" };
                let engine = if depth == 1 { "psync" } else { "libaio" };
                // Looking at the clock costs the guest a system call.
                let length = operations
                    .map_or(format!("--time_based --runtime={RUNTIME_S}"), |count| {
                        format!("--number_ios={count} --gtod_reduce=1")
                    });
                format!(
                    "fio --name=load --filename=/dev/xvdb --size=1g --direct=1 --rw={rw} \
                     --bs={block} --ioengine={engine} --iodepth={depth} {length} --thread \
                     --eta=never --output-format=terse --terse-version=3"
                )
            }
        }
    }

    /// Reads what the tool reports at its end.
    fn speed(&self, said: &str) -> Result<Speed> {
        let speed = match self.tool {
            Tool::Dd => Speed::of_dd(said, self.block_kib),
            Tool::Fio { .. } => Speed::of_fio(said, self.write),
        };
        speed.with_context(|| format!("{}: no figures in {said:?}", self.title))
    }
}

/// What a tool says of its own speed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Speed {
    /// Millions of bytes a second.
    megabytes: f64,
    /// Operations a second.
    operations: f64,
    /// How long one took: on the average, and all but one in a hundred; in microseconds.
    latency: Option<(f64, f64)>,
}

impl Speed {
    /// From `4096 bytes (4.1 kB, 4.0 KiB) copied, 0.5 s, 8.2 kB/s`.
    fn of_dd(said: &str, block_kib: u64) -> Option<Self> {
        let line = said.lines().find(|line| line.contains(" copied, "))?;
        let bytes: f64 = line.split(' ').next()?.parse().ok()?;
        let (_, after) = line.split_once(" copied, ")?;
        let seconds: f64 = after.split(' ').next()?.parse().ok()?;
        Some(Self {
            megabytes: bytes / seconds / 1e6,
            operations: bytes / float(block_kib << 10) / seconds,
            latency: None,
        })
    }

    /// From `fio`'s terse line, version 3: fields from 5 on are of reads, from 46 on of writes.
    fn of_fio(said: &str, write: bool) -> Option<Self> {
        let line = said.lines().find(|line| line.starts_with("3;"))?;
        let first = if write { 46 } else { 5 };
        let fields: Vec<_> = line.split(';').skip(first).collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let late = fields
            .iter()
            .find_map(|field| field.strip_prefix("99.000000%="));
        Some(Self {
            megabytes: number(1)? * 1024.0 / 1e6,
            operations: number(2)?,
            latency: Some((number(10)?, late?.parse().ok()?)),
        })
    }
}

/// Runs all of them in one guest.
pub(super) fn run(bench: &Bench<'_>, step: &Step) -> Result<Table> {
    let guest = Guest {
        name: "bench-disks",
        disks: &["phy:/dev/vdb,xvdb,w"],
        mac: None,
    };
    step.at("booting a Debian");
    let mut shell = Shell::create(bench.host, bench.image, &guest)?;
    shell.wait()?;
    let mut table = if bench.icount {
        Table::new(&[
            "instructions an operation",
            "guest",
            "dom0",
            "together",
            "Xen 4.17",
        ])
    } else {
        Table::new(&["load", "MB/s", "a second", "mean µs", "99 % within µs"])
    };
    for load in LOADS.iter().filter(|load| load.title.contains(bench.only)) {
        step.at(load.title);
        let cells = if bench.icount {
            costs(bench, &mut shell, load)?
        } else {
            speeds(&mut shell, load)?
        };
        step.say(&table.row(load.title, cells));
        step.advance();
    }
    bench.end(guest.name)?;
    Ok(table)
}

fn costs(bench: &Bench<'_>, shell: &mut Shell, load: &Load) -> Result<Vec<String>> {
    let cost = meter::measure(bench.host, load.counts(), |operations| {
        shell.run(&load.line(Some(operations))).map(drop)
    })?;
    let dom0 = cost.of("Domain-0");
    let xen = load.xen.map_or(String::new(), |xen| count(float(xen)));
    Ok(vec![
        count(cost.total() - dom0),
        count(dom0),
        count(cost.total()),
        xen,
    ])
}

fn speeds(shell: &mut Shell, load: &Load) -> Result<Vec<String>> {
    let speed = load.speed(&shell.run(&load.line(None))?)?;
    let latency =
        |pick: fn((f64, f64)) -> f64| speed.latency.map(pick).map_or(String::new(), count);
    Ok(vec![
        rate(speed.megabytes),
        count(speed.operations),
        latency(|(mean, _)| mean),
        latency(|(_, late)| late),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dd_says_is_understood() {
        let said = "1050+0 records in\n1050+0 records out\n\
            1101004800 bytes (1.1 GB, 1.0 GiB) copied, 2 s, 551 MB/s\n";
        let speed = Speed::of_dd(said, 1024).unwrap();
        assert_eq!((speed.operations, speed.latency), (525.0, None));
        assert_eq!(Speed::of_dd("dd: failed to open", 4), None);
    }

    #[test]
    fn what_fio_says_is_understood() {
        let mut fields = vec!["0".to_owned(); 90];
        fields[0] = "3".to_owned();
        for (first, mean) in [(5, "55.5"), (46, "66.5")] {
            fields[first + 1] = "1000".to_owned();
            fields[first + 2] = "250".to_owned();
            fields[first + 10] = mean.to_owned();
            fields[first + 25] = format!("99.000000%={first}");
        }
        let line = fields.join(";");
        let read = Speed::of_fio(&line, false).unwrap();
        assert_eq!((read.operations, read.latency), (250.0, Some((55.5, 5.0))));
        let write = Speed::of_fio(&line, true).unwrap();
        assert_eq!(write.latency, Some((66.5, 46.0)));
        assert_eq!(Speed::of_fio("3;fio-3.33", true), None);
    }

    #[test]
    fn each_tool_gets_the_load_in_its_own_words() {
        assert_eq!(
            LOADS[1].line(Some(7)),
            "dd if=/dev/xvdb of=/dev/null iflag=direct bs=1024k count=7"
        );
        let deep = LOADS[7].line(Some(7));
        assert!(deep.contains("--rw=randread --bs=4k --ioengine=libaio --iodepth=32"));
        assert!(deep.contains("--number_ios=7"));
        assert!(LOADS[4].line(None).contains("--rw=randwrite") && !deep.contains("runtime"));
    }
}
