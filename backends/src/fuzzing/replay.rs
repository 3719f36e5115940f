//! The corpus: replayed always, grown on demand.

use super::{Seen, blkback, netback, xenstore};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, println};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Inputs by name, so that the order is everywhere the same.
fn inputs(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).expect("a folder of inputs");
    files
        .map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read(file.path()).unwrap())
        })
        .collect()
}

/// A function that carries out an input.
type Target = fn(&[u8]) -> Seen;

fn replay(target: &str, run: Target) -> Seen {
    let inputs = inputs(&corpus(target));
    assert!(inputs.len() >= 10, "{target}: where is the corpus?");
    let mut all = Seen::default();
    for (name, bytes) in inputs {
        println!("{target}/{name}");
        all.learn(&run(&bytes));
    }
    all
}

#[test]
fn the_corpus_of_blkback_breaks_no_promise() {
    replay("blkback", blkback);
}

#[test]
fn the_corpus_of_netback_breaks_no_promise() {
    replay("netback", netback);
}

#[test]
fn the_corpus_of_xenstore_breaks_no_promise() {
    replay("xenstore", xenstore);
}

/// A generator of numbers good enough to mutate with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[2]
    }
}

/// An input made of others.
fn mutated(parents: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = parents[random.below(parents.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(4) {
            0 => bytes.insert(at, random.byte()),
            1 if at < bytes.len() => bytes[at] = random.byte(),
            2 => {
                let other = &parents[random.below(parents.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.extend((0..random.below(40)).map(|_| random.byte())),
        }
    }
    bytes.truncate(600);
    bytes
}

/// Keeps an input that shows something new.
fn keep(target: &str, run: Target, all: &mut Seen, bytes: &[u8]) -> bool {
    // Left behind if this one breaks something.
    let last = corpus(target).join("last");
    fs::write(&last, bytes).unwrap();
    let seen = run(bytes);
    fs::remove_file(&last).unwrap();
    let new = all.learn(&seen);
    if new {
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        fs::write(corpus(target).join(format!("grown-{sum:016x}")), bytes).unwrap();
    }
    new
}

fn grow(target: &str, run: Target, rounds: usize, seed: u64) {
    let mut all = replay(target, run);
    if let Some(from) = std::env::var_os("FROM") {
        for bytes in inputs(&Path::new(&from).join(target)).values() {
            keep(target, run, &mut all, bytes);
        }
    }
    let mut parents: Vec<_> = inputs(&corpus(target)).into_values().collect();
    let mut random = Random(seed);
    for _ in 0..rounds {
        let bytes = mutated(&parents, &mut random);
        if keep(target, run, &mut all, &bytes) {
            parents.push(bytes);
        }
    }
}

#[test]
#[ignore = "adds inputs to the corpus: run it by hand, look at what it added"]
fn grow_the_corpus() {
    let number = |name, or| {
        std::env::var(name)
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(or)
    };
    let (rounds, seed) = (number("ROUNDS", 20_000), number("SEED", 0x5eed));
    let rounds = usize::try_from(rounds).unwrap();
    let targets: [(&str, Target); 3] = [
        ("blkback", blkback),
        ("netback", netback),
        ("xenstore", xenstore),
    ];
    let wanted = std::env::var("TARGET").unwrap_or_default();
    for (target, run) in targets {
        if wanted.is_empty() || wanted == target {
            grow(target, run, rounds, seed);
        }
    }
}
