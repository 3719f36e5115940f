//! QEMU's command line.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::card::Card;
use super::disk::Disk;
use super::folder::{CONSOLE_LOG, QEMU_LOG, QEMU_SOCKET, SERIAL_SOCKET};
use crate::paths::Paths;

/// What a host is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name.
    pub name: String,
    /// Its memory, in QEMU's words: `2G`.
    pub memory: String,
    /// Its CPUs.
    pub cpus: u32,
    /// One CPU, and a clock that counts executed instructions.
    pub icount: bool,
    /// With such a clock: lets it go on by itself while nothing is executed, instead of having it
    /// jump to the next timer at once. A wait for a real disk then holds no more timers than it
    /// would without counting.
    pub waits: bool,
    /// Its disks, in order.
    pub disks: Vec<Disk>,
    /// Its network cards, in order.
    pub cards: Vec<Card>,
    /// More words for the core's command line.
    pub core_args: String,
    /// More words for dom0's command line.
    pub dom0_args: String,
}

impl Options {
    /// A host with this name, and nothing special.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            memory: "2G".to_owned(),
            cpus: 2,
            icount: false,
            waits: false,
            disks: Vec::new(),
            cards: Vec::new(),
            core_args: String::new(),
            dom0_args: String::new(),
        }
    }
}

/// Where the serial port leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// To the console log, and to whoever connects to the socket.
    Background,
    /// To our terminal; Ctrl-A X leaves.
    Terminal,
}

/// The command, to be run in the host's folder.
pub(super) fn command(paths: &Paths, options: &Options, serial: Serial) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-cpu", "qemu64", "-m", &options.memory]);
    qemu.args([
        "-display",
        "none",
        "-no-reboot",
        "-no-user-config",
        "-nodefaults",
    ]);
    if options.icount {
        qemu.args(["-smp", "1", "-accel", "tcg,thread=single"]);
        let sleep = if options.waits { "on" } else { "off" };
        qemu.args(["-icount", &format!("shift=0,sleep={sleep}")]);
        qemu.args(["-rtc", "base=2026-01-01,clock=vm"]);
    } else {
        qemu.args([
            "-smp",
            &options.cpus.to_string(),
            "-accel",
            "tcg,thread=multi",
        ]);
    }
    qemu.arg("-kernel").arg(paths.core_image());
    qemu.args(["-append", &format!("console=com1 {}", options.core_args)]);
    qemu.arg("-initrd")
        .arg(module(&paths.dom0_image(), &options.dom0_args));

    let channel = format!("socket,id=mgmt,path={QEMU_SOCKET},server=on,wait=off");
    qemu.args(["-device", "virtio-serial-pci", "-chardev", &channel]);
    qemu.args(["-device", "virtserialport,chardev=mgmt,name=org.radon.mgmt"]);
    for (index, disk) in options.disks.iter().enumerate() {
        qemu.args(disk.arguments(index));
    }
    for (index, card) in options.cards.iter().enumerate() {
        qemu.args(card.arguments(index));
    }
    match serial {
        Serial::Terminal => {
            qemu.args(["-serial", "mon:stdio"]);
        }
        Serial::Background => {
            let port = format!(
                "socket,id=serial,path={SERIAL_SOCKET},server=on,wait=off,logfile={CONSOLE_LOG}"
            );
            qemu.args(["-chardev", &port, "-serial", "chardev:serial"]);
            let log = || File::create(paths.host(&options.name).join(QEMU_LOG));
            qemu.stdin(Stdio::null()).stdout(Stdio::null());
            qemu.stderr(log().map_or_else(|_| Stdio::null(), Stdio::from));
        }
    }
    qemu
}

/// A module and its arguments, as `-initrd` takes them: commas doubled.
fn module(file: &Path, arguments: &str) -> OsString {
    let text = format!("{} {arguments}", file.display());
    text.trim_end().replace(',', ",,").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_a_modules_path_or_arguments_do_not_end_it() {
        assert_eq!(module(Path::new("/a,b/dom0"), "x=1,2"), "/a,,b/dom0 x=1,,2");
        assert_eq!(module(Path::new("/dom0"), ""), "/dom0");
    }
}
