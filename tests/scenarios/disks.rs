//! Disks under a whole Debian: what was written is what is read, whatever happens meanwhile.
//!
//! One host and one guest serve several checks: booting them is what takes the time. The long form
//! of a check is asked for by an environment variable, as in `RADON_RESTARTS=1000`.

use radon_tests::{Debian, DiskFile, Host, Patience, Running, Way, rounds, until};

/// Reads and writes of all sizes and depths, in order and not, each verified; then trims among
/// the writes. Each part has a place of its own on the disk.
const FIO_MIX: &str = "\
[global]
filename=/dev/xvdb
direct=1
ioengine=libaio
verify=crc32c
verify_fatal=1
stonewall
size=24m
[single]
rw=randwrite
bs=4k
io_size=4m
[deep]
offset=32m
rw=randrw
bs=4k
iodepth=64
[mixed]
offset=64m
rw=randwrite
bsrange=4k-1m
iodepth=32
[large]
offset=96m
rw=write
bs=1m
iodepth=4
[odd]
offset=128m
rw=write
bs=52k
iodepth=16
[trims]
offset=160m
rw=trimwrite
bs=64k
iodepth=8
";

/// Writes and verifies the same place over and over, until it is told to stop, which it calls an
/// error of its own: what it found is in its report.
const FIO_FOREVER: &str = "fio --name=forever --filename=/dev/xvdb --size=16m --direct=1 \
    --ioengine=libaio --iodepth=16 --rw=randwrite --bsrange=4k-128k --bs_unaligned=0 \
    --verify=crc32c --verify_fatal=1 --loops=100000 --output=/run/forever.txt; true";

#[test]
fn a_debian_on_disks_reads_what_it_wrote() {
    let root = DiskFile::root("disks-root");
    let scratch = DiskFile::empty("disks-scratch", 256);
    let spare = DiskFile::empty("disks-spare", 64);
    let [way] = Way::new();
    let mut options = vec![Way::option(&[way])];
    options.extend([&root, &scratch, &spare].map(DiskFile::option));
    let host = Host::up_with("disks", 2, "2G", &options);
    let baseline = host.usage();

    let disks = "disk=['phy:/dev/vda,xvda,w', 'phy:/dev/vdb,xvdb,w']";
    let guest = Debian::boot(&host, "disks", way, &["vcpus=2", disks]);
    its_system_runs(&guest);
    fio_verifies_every_mix(&guest);
    a_file_system_with_trims_stays_whole(&guest);
    let load = Load::start(&guest);
    disks_come_and_go_under_load(&host, &guest);
    the_backend_restarts_under_load(&host, &guest, &load);
    load.stop(&guest);
    memory_follows_its_target(&host, &guest);

    guest.power_off();
    root.assert_clean();
    host.assert_clean(&baseline);
}

fn its_system_runs(guest: &Debian<'_>) {
    let state = guest.run("systemctl is-system-running --wait || systemctl --failed --no-legend");
    assert_eq!(state.stdout.trim(), "running");
    let root = guest.run_ok("findmnt -no SOURCE,FSTYPE,OPTIONS /");
    let words: Vec<_> = root.split_whitespace().collect();
    assert_eq!(words[..2], ["/dev/xvda", "ext4"]);
    assert!(words[2].starts_with("rw,"), "{root}");
}

fn fio_verifies_every_mix(guest: &Debian<'_>) {
    let report = guest.run_ok(&format!(
        "cat > /run/mix.fio <<'END'\n{FIO_MIX}END\nfio /run/mix.fio 2>&1"
    ));
    let good = report.matches("err= 0").count();
    assert_eq!(good, FIO_MIX.matches("rw=").count(), "{report}");
}

fn a_file_system_with_trims_stays_whole(guest: &Debian<'_>) {
    let _ = guest.run_ok(
        "set -e; mkfs.ext4 -q -F /dev/xvdb; mount -o discard /dev/xvdb /mnt; \
         cp -a /usr/bin /mnt/first; sync; cp -a /mnt/first /mnt/second; rm -r /mnt/first; \
         fstrim /mnt; sync; echo 3 > /proc/sys/vm/drop_caches; \
         diff -r --no-dereference /usr/bin /mnt/second; umount /mnt; e2fsck -fn /dev/xvdb",
    );
}

/// Verified writes that go on while something else happens.
struct Load(Running);

impl Load {
    fn start(guest: &Debian<'_>) -> Self {
        let load = Self(guest.start(FIO_FOREVER));
        until("the load", Patience::SHORT, || {
            guest.run_ok("pgrep -c fio").trim().parse::<u32>().ok()
        });
        load
    }

    /// Lets it go on for a while, and checks that it does.
    fn goes_on(&self, guest: &Debian<'_>) {
        let writes = || -> u64 {
            let line = guest.run_ok("cat /sys/block/xvdb/stat");
            let field = line.split_whitespace().nth(4);
            field.and_then(|field| field.parse().ok()).unwrap_or(0)
        };
        let before = writes();
        until("more writes", Patience::SHORT, || {
            (writes() > before).then_some(())
        });
    }

    /// Ends it: all that was read was what had been written.
    fn stop(self, guest: &Debian<'_>) {
        // Now and then fio goes on waiting for requests that have all ended: then it is told again.
        let _ = guest.run_ok("while pkill -INT fio; do sleep 5; done");
        let _ = self.0.finish();
        let report = guest.run_ok("cat /run/forever.txt");
        assert!(report.contains("err= 0"), "{report}");
    }
}

fn disks_come_and_go_under_load(host: &Host, guest: &Debian<'_>) {
    for round in 0..rounds("CYCLES", 5) {
        let _ = host.xl_ok(["block-attach", guest.name(), "phy:/dev/vdc,xvdc,w"]);
        until("the new disk", Patience::SHORT, || {
            (guest.run("test -b /dev/xvdc").status == 0).then_some(())
        });
        let _ = guest.run_ok(&format!(
            "set -e; echo round {round} | dd of=/dev/xvdc bs=4k conv=sync,fsync status=none; \
             dd if=/dev/xvdc bs=4k count=1 iflag=direct status=none | grep -aqx 'round {round}'"
        ));
        let _ = host.xl_ok(["block-detach", guest.name(), "xvdc"]);
        until("the disk's end", Patience::SHORT, || {
            (guest.run("test -b /dev/xvdc").status != 0).then_some(())
        });
    }
    assert!(!host.xl_ok(["block-list", guest.name()]).contains("51744"));
}

fn the_backend_restarts_under_load(host: &Host, guest: &Debian<'_>, load: &Load) {
    for _ in 0..rounds("RESTARTS", 3) {
        let _ = host.xl_ok(["backend-restart", "blk", guest.name()]);
        load.goes_on(guest);
    }
}

fn memory_follows_its_target(host: &Host, guest: &Debian<'_>) {
    let total = || -> u64 {
        let line = guest.run_ok("grep MemTotal /proc/meminfo");
        let field = line.split_whitespace().nth(1);
        field.and_then(|field| field.parse().ok()).unwrap_or(0) >> 10
    };
    let full = total();
    let _ = host.xl_ok(["mem-set", guest.name(), "256"]);
    until("less memory", Patience::SHORT, || {
        (total() + 100 < full).then_some(())
    });
    let _ = host.xl_ok(["mem-set", guest.name(), "384"]);
    until("the memory's return", Patience::SHORT, || {
        (total() == full).then_some(())
    });
}
