//! A host that stands alone: booted from a disk image, driven by its serial console, and nobody
//! else.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::slots::Slot;
use crate::wait::Patience;

/// Where Debian's `ovmf` puts the firmware and its empty variables.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// What the shell says when it waits for a line.
const PROMPT: &str = "dom0>";

/// What the machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's BIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// Such a host; it ends with this value.
#[derive(Debug)]
pub struct Standalone {
    qemu: Child,
    keyboard: ChildStdin,
    said: Arc<Mutex<String>>,
    variables: PathBuf,
    /// How much of what was said belongs to commands before.
    seen: usize,
    /// Given up after the host has ended.
    _slot: Slot,
}

impl Standalone {
    /// Boots from the image, which the machine has as its only disk and cannot write, and waits
    /// for the shell.
    ///
    /// # Panics
    /// When QEMU cannot be run, or the shell does not come up.
    #[must_use]
    pub fn boot(image: &Path, firmware: Firmware) -> Self {
        let slot = Slot::take();
        let variables = format!("radon-{firmware:?}-{}.fd", std::process::id());
        let variables = std::env::temp_dir().join(variables);
        let mut qemu = command(image, firmware, &variables)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run QEMU: {error}"));
        let (keyboard, screen) = (qemu.stdin.take(), qemu.stdout.take());
        let said = Arc::new(Mutex::new(String::new()));
        let (Some(keyboard), Some(screen)) = (keyboard, screen) else {
            panic!("QEMU has no serial port");
        };
        let ear = said.clone();
        thread::spawn(move || listen(screen, &ear));
        let mut host = Self {
            qemu,
            keyboard,
            said,
            variables,
            seen: 0,
            _slot: slot,
        };
        host.wait_for_prompt("Welcome", Patience::BOOT);
        host
    }

    /// Everything said since the last wait that ended.
    fn news(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.get(self.seen..).unwrap_or_default().to_owned()
    }

    /// Waits for the shell to be ready after it has said `text`, and returns what it said between
    /// the two.
    fn wait_for_prompt(&mut self, text: &str, patience: Patience) -> String {
        let start = Instant::now();
        loop {
            let news = self.news();
            let answer = news.split_once(text).map(|(_, after)| after);
            if let Some((answer, _)) = answer.and_then(|after| after.split_once(PROMPT)) {
                self.seen += news.len();
                return answer.to_owned();
            }
            assert!(
                start.elapsed() < patience.0,
                "the shell is not ready after {:?}; it said:\n{news}",
                patience.0
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Types a command and returns what it says.
    ///
    /// # Panics
    /// When it does not end, or nobody reads what is typed.
    pub fn command(&mut self, line: &str) -> String {
        let typed = self.keyboard.write_all(format!("{line}\r").as_bytes());
        assert!(typed.is_ok(), "the serial port takes nothing");
        self.wait_for_prompt(line, Patience::SHORT)
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_file(&self.variables);
    }
}

fn command(image: &Path, firmware: Firmware, variables: &Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-cpu", "qemu64", "-m", "1G", "-smp", "2"]);
    qemu.args(["-accel", "tcg,thread=multi", "-display", "none"]);
    qemu.args(["-no-reboot", "-no-user-config", "-nodefaults"]);
    qemu.args(["-serial", "stdio"]);
    if firmware == Firmware::Uefi {
        fs::copy(OVMF_VARIABLES, variables)
            .unwrap_or_else(|error| panic!("{OVMF_VARIABLES}: {error} (package ovmf)"));
        let file = |rest| format!("if=pflash,format=raw,{rest}");
        qemu.arg("-drive")
            .arg(file(format!("readonly=on,file={OVMF_CODE}")))
            .arg("-drive")
            .arg(file(format!("file={}", variables.display())));
    }
    let drive = "if=none,id=image,format=raw,readonly=on,file=";
    qemu.arg("-drive")
        .arg(format!("{drive}{}", image.display()));
    qemu.args(["-device", "virtio-blk-pci,drive=image,bootindex=0"]);
    qemu.stdin(Stdio::piped()).stdout(Stdio::piped());
    qemu.stderr(Stdio::null());
    qemu
}

/// Keeps what the serial port says, without the terminal's escape sequences.
fn listen(mut screen: impl Read, said: &Mutex<String>) {
    let mut buffer = [0; 4096];
    let mut escape = None;
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in buffer.iter().take(count) {
            match (escape, byte) {
                (_, 0x1b) => escape = Some(0),
                (Some(0), b'[') => escape = Some(1),
                // A sequence ends with its first letter.
                (Some(1), 0x40..=0x7e) | (Some(0), _) => escape = None,
                (Some(_), _) => {}
                (None, byte) => said.push(char::from(*byte)),
            }
        }
    }
}
