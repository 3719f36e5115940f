//! A power cut at any moment: what a guest was told is on the disk is on the disk.
//!
//! The long form: `RADON_POWER_CUTS=100`.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, SystemTime};

use radon_tests::{Debian, DiskFile, Host, Patience, Running, Way, rounds, until};

/// Writes a line, has it made durable, and only then says so.
const WRITER: &str = "\
    i=0; : > /root/log; sync; \
    while :; do i=$((i + 1)); echo line $i >> /root/log; sync -d /root/log && echo $i; \
    [ $((i % 20)) = 0 ] && cp /root/log /root/copy.$i; done";

#[test]
#[ignore = "a whole Debian, minutes long: see tests/README.md"]
fn what_was_reported_durable_outlives_a_power_cut() {
    let root = DiskFile::root("durable");
    for round in 0..rounds("POWER_CUTS", 2) {
        let [way] = Way::new();
        let options = [Way::option(&[way]), root.option()];
        let host = Host::up_with("durable", 2, "1G", &options);
        let guest = Debian::boot(&host, "writer", way, &["disk=['phy:/dev/vda,xvda,w']"]);
        let reported = cut_the_power_under(&host, guest.start(WRITER));
        drop(host);

        root.recover();
        let log = root.read("/root/log");
        let lines = log.lines().count();
        assert!(
            lines >= reported,
            "round {round}: {reported} reported, {lines} there"
        );
        for (number, line) in log.lines().take(reported).enumerate() {
            assert_eq!(line, format!("line {}", number + 1), "round {round}");
        }
    }
}

/// Tells how many lines were reported durable before the power went.
fn cut_the_power_under(host: &Host, mut writer: Running) -> usize {
    let stdout = writer.take_stdout().expect("its output is ours");
    let reported = Arc::new(AtomicUsize::new(0));
    let seen = reported.clone();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(number) = line.trim().parse() {
                seen.store(number, Ordering::Relaxed);
            }
        }
    });
    until("the first promises", Patience::SHORT, || {
        (reported.load(Ordering::Relaxed) >= 3).then_some(())
    });
    sleep(Duration::from_millis(u64::from(some_millis())));
    host.cut_power();
    drop(writer);
    reader.join().expect("the reader ends well");
    reported.load(Ordering::Relaxed)
}

/// Below two seconds, and never the same.
fn some_millis() -> u32 {
    let now = SystemTime::UNIX_EPOCH.elapsed();
    now.map_or(0, |now| now.subsec_nanos() / 500_000)
}
