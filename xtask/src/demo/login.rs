//! The way into the demo's Debian: this machine's own OpenSSH client, a port of 127.0.0.1 that QEMU
//! forwards, the uplink of dom0's switch, netfront.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guests::check_words;
use crate::command;
use crate::guest_image::{self, GuestImage};
use crate::machine::{Card, Disk, Options};
use crate::paths::Paths;
use crate::progress::Step;

/// How long the guest may take to let us in once it shows its login prompt.
const PATIENCE: Duration = Duration::from_secs(90);
/// The first address that QEMU's network gives away.
const ADDRESS: &str = "10.0.2.15";
/// What is asked; the first waits until the start is over.
const QUESTIONS: [&str; 4] = [
    "systemctl is-system-running --wait || systemctl --failed --no-legend",
    "uname -srvm",
    "findmnt --noheadings /",
    "ip -4 -brief address show scope global",
];

/// The Debian image for one run, and the port that leads into it.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) image: GuestImage,
    /// A copy of the root image: what the guest writes is of no use later.
    disk: PathBuf,
    port: u16,
}

impl Login {
    /// Gets the image, and gives the host its disk and a card with a forwarded port.
    pub(super) fn prepare(paths: &Paths, options: &mut Options) -> Result<Self> {
        let image = guest_image::ensure(paths, &guest_image::Wish::default())?;
        let disk = image.folder().join(format!("{}-demo.img", options.name));
        guest_image::copy(&image.root(), &disk)?;
        let login = Self {
            port: free_port()?,
            disk,
            image,
        };
        let forward = format!("user,hostfwd=tcp:127.0.0.1:{}-{ADDRESS}:22", login.port);
        let file = login.disk.display().to_string();
        options.disks.insert(0, Disk::parse(&file)?);
        options.cards.insert(0, Card::parse(&forward)?);
        Ok(login)
    }

    /// Logs in, looks around, and has the guest power itself off.
    pub(super) fn visit(&self, step: &Step) -> Result<()> {
        let begun = Instant::now();
        let mut first = self.run(QUESTIONS[0]);
        while first.is_err() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(500));
            first = self.run(QUESTIONS[0]);
        }
        let state = first.context("the guest lets nobody in by SSH")?;
        step.say(&format!(
            "\n$ ssh -p {} root@127.0.0.1   (into {ADDRESS})",
            self.port
        ));
        step.say(&format!("# {}\n{}", QUESTIONS[0], state.trim()));
        let words: Vec<_> = state.split_whitespace().collect();
        ensure!(words == ["running"], "systemd is {}", words.join(" "));
        for question in &QUESTIONS[1..] {
            step.say(&format!("# {question}\n{}", self.run(question)?.trim_end()));
        }
        check_words("the Debian guest's kernel", &self.run("dmesg")?)?;
        step.say("# systemctl poweroff\n");
        // The connection may end before the answer.
        let _ = self.run("systemctl poweroff");
        Ok(())
    }

    fn run(&self, line: &str) -> Result<String> {
        command::capture(self.image.ssh(self.port).arg(line))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.disk);
    }
}

/// A port that nobody uses now; QEMU takes it a moment later.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
