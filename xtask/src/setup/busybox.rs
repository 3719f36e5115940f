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

/// `radon.work` on the kernel's command line starts work of many kinds that never ends.
const RC: &str = "\
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
for word in $(cat /proc/cmdline); do
    case $word in radon.work) /etc/work </dev/null & ;; esac
done
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
    let archive = compressed(&archive(&program))?;
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

fn archive(busybox: &[u8]) -> Vec<u8> {
    let mut archive = Archive::new();
    for folder in [
        "bin", "dev", "etc", "proc", "root", "sbin", "sys", "tmp", "usr", "usr/bin",
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
