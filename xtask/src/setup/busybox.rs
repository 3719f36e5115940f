//! The ramdisk of Linux guests: busybox as init, a report from userland, a shell on the console.
//!
//! The guest says [`REPORT`] once its userland runs, then waits. The kernel answers a toolstack's
//! shutdown with `/sbin/poweroff`, which tells init to stop.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::cpio::Archive;
use super::kernels;
use crate::paths::Paths;
use crate::progress::Step;

/// What the guest's report begins with; `cpus=<number on line> kernel=<release>` follow.
pub const REPORT: &str = "RADON-USERLAND-OK";

/// Programs that are busybox by another name.
const APPLETS: &[&str] = &[
    "bin/sh",
    "bin/cat",
    "bin/echo",
    "bin/mount",
    "bin/umount",
    "bin/mkdir",
    "bin/ls",
    "bin/dd",
    "bin/true",
    "bin/sleep",
    "bin/uname",
    "bin/rm",
    "bin/ps",
    "bin/dmesg",
    "bin/grep",
    "bin/sync",
    "bin/date",
    "bin/kill",
    "bin/ln",
    "bin/cp",
    "usr/bin/find",
    "usr/bin/nproc",
    "usr/bin/free",
    "usr/bin/head",
    "usr/bin/tail",
    "usr/bin/wc",
    "usr/bin/md5sum",
    "usr/bin/top",
    "usr/bin/tr",
    "usr/bin/yes",
    "sbin/insmod",
    "sbin/init",
    "sbin/poweroff",
    "sbin/reboot",
    "sbin/halt",
    "init",
];

const INITTAB: &str = "\
::sysinit:/etc/rc
::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
";

/// `radon.work` on the kernel's command line starts work of many kinds that never ends; `radon.fill=`
/// and `radon.keep=` are for [`DISKS`].
const RC: &str = "\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
for word in $(cat /proc/cmdline); do
    case $word in
        radon.work) /etc/work </dev/null & ;;
        radon.fill=*:*|radon.keep=*:*) disks=\"$disks $word\" ;;
    esac
done
[ -z \"$disks\" ] || /etc/disks $disks </dev/null &
echo \"RADON-USERLAND-OK cpus=$(grep -c ^processor /proc/cpuinfo) kernel=$(uname -r)\"
";

const WORK: &str = "\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin
round=0
while :; do
    for i in 1 2 3 4 5 6 7 8; do (true); /bin/true; done
    dd if=/dev/zero of=/tmp/zeros bs=64k count=32 2>/dev/null
    md5sum /tmp/zeros >/dev/null
    find / -xdev >/dev/null
    round=$((round + 1))
    case $round in *00) echo \"work: $round rounds\" ;; esac
done
";

/// What writes, has it made durable, and only then says so.
///
/// `radon.fill=FROM:TO` copies a disk. `radon.keep=DISK:COPY` does what is done after a power cut:
/// it mounts the disk's ext4, so that the journal is replayed, and unmounts it. Then it copies the
/// disk to another, to be looked at; then it writes numbered files and a log of their numbers, until
/// the power goes.
const DISKS: &str = "\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin
there() {
    until [ -b /dev/$1 ]; do sleep 0.1; done
}
copy() {
    echo 3 > /proc/sys/vm/drop_caches
    dd if=/dev/$1 of=/dev/$2 bs=1M conv=fsync 2>/dev/null
}
replay() {
    mkdir /tmp/$1 && mount -t ext4 /dev/$1 /tmp/$1 && umount /tmp/$1
}
write() {
    mount -t ext4 /dev/$1 /tmp/$1 && cd /tmp/$1 && : >> log || return
    number=$(wc -l < log)
    while number=$((number + 1)); do
        line=\"$(uname -n) $1 $number\"
        yes \"$line\" | head -c $((number * 7919 % 61 * 1024 + 512)) |
            dd of=file$((number % 8)) bs=64k conv=fsync 2>/dev/null || return
        echo \"$line\" | dd of=log oflag=append conv=notrunc,fsync 2>/dev/null || return
        echo \"disks: $1 keeps $number\"
    done
}
keep() {
    replay $1 && copy $1 $2 && echo \"disks: $1 is copied\" && write $1
    echo \"disks: $1 fails\"
}
insmod /lib/xen-blkfront.ko
for word in \"$@\"; do
    disk=${word#*=} other=${word#*:}
    disk=${disk%:*}
    there $disk
    there $other
    case $word in
        radon.fill=*) copy $disk $other ;;
        radon.keep=*) keep $disk $other & ;;
    esac
done
wait
";

/// Makes sure that the ramdisk lies in the build folder.
///
/// # Errors
///
/// If there is no busybox to be had.
pub fn ensure(paths: &Paths) -> Result<()> {
    let busybox = match find(Path::new("/")) {
        Some(found) => found,
        None => {
            let step = Step::begin("getting Debian's busybox-static");
            let root = kernels::unpack(paths, "busybox-static").context("no busybox-static")?;
            step.done();
            find(&root).context("busybox-static holds no busybox")?
        }
    };
    let program = fs::read(&busybox).with_context(|| format!("no {}", busybox.display()))?;
    let archive = compressed(&archive(&program, blkfront(paths).as_deref()))?;
    if fs::read(paths.ramdisk()).is_ok_and(|old| old == archive) {
        return Ok(());
    }
    fs::create_dir_all(paths.images())?;
    fs::write(paths.ramdisk(), archive)?;
    eprintln!(
        "ramdisk: {} from {}",
        paths.ramdisk().display(),
        busybox.display()
    );
    Ok(())
}

/// A busybox that needs no libraries.
fn find(root: &Path) -> Option<PathBuf> {
    ["bin/busybox", "usr/bin/busybox"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| fs::read(path).is_ok_and(|program| is_static(&program)))
}

/// Whether an ELF program has no interpreter.
fn is_static(program: &[u8]) -> bool {
    let interpreter = b"/lib64/ld-linux-x86-64.so.2";
    !program
        .windows(interpreter.len())
        .take(4096)
        .any(|window| window == interpreter)
}

fn compressed(archive: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(archive)?;
    Ok(encoder.finish()?)
}

/// The module for disks of the cloud kernel, in which file systems are built in. A kernel supplied
/// by hand comes without.
fn blkfront(paths: &Paths) -> Option<Vec<u8>> {
    const MODULE: &str = "kernel/drivers/block/xen-blkfront.ko";
    let packages = fs::read_dir(paths.packages()).ok()?;
    let cloud = packages.flatten().find(|package| {
        package
            .file_name()
            .to_string_lossy()
            .ends_with("-cloud-amd64")
    })?;
    let releases = fs::read_dir(cloud.path().join("lib/modules")).ok()?;
    releases
        .flatten()
        .find_map(|release| fs::read(release.path().join(MODULE)).ok())
}

fn archive(busybox: &[u8], blkfront: Option<&[u8]>) -> Vec<u8> {
    let mut archive = Archive::new();
    for folder in [
        "bin", "dev", "etc", "lib", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin",
    ] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, busybox);
    for applet in APPLETS {
        archive.link(applet, "/bin/busybox");
    }
    archive.file("etc/inittab", 0o644, INITTAB.as_bytes());
    archive.file("etc/rc", 0o755, RC.as_bytes());
    archive.file("etc/work", 0o755, WORK.as_bytes());
    archive.file("etc/disks", 0o755, DISKS.as_bytes());
    if let Some(module) = blkfront {
        archive.file("lib/xen-blkfront.ko", 0o644, module);
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_script_reports_as_documented() {
        assert!(RC.contains(REPORT));
    }
}
