//! The way into the demo's Debian: this machine's own OpenSSH client, a port of 127.0.0.1 that QEMU
//! forwards, the uplink of dom0's switch, netfront.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guests::check_words;
use crate::client::Session;
use crate::command;
use crate::guest_image::{self, GuestImage};
use crate::machine::{Card, Disk, HostDir, Options};
use crate::paths::Paths;
use crate::progress::Step;

/// How long the guest may take to let us in once it shows its login prompt.
const PATIENCE: Duration = Duration::from_secs(90);
/// The first address that QEMU's network gives away.
const ADDRESS: &str = "10.0.2.15";
/// Room for what the guest writes; the file holds no more than that.
const POOL_BYTES: u64 = 1 << 30;
/// What is asked; the first waits until the start is over.
const QUESTIONS: [&str; 4] = [
    "systemctl is-system-running --wait || systemctl --failed --no-legend",
    "uname -srvm",
    "findmnt --noheadings /",
    "ip -4 -brief address show scope global",
];

/// The Debian image, a pool for one run, and the port that leads into the guest.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) image: GuestImage,
    /// The host's second disk: what the guest writes is of no use later.
    pool: PathBuf,
    port: u16,
}

impl Login {
    /// Gets the image, and gives the host its root file system to read, an empty disk, and a card
    /// with a forwarded port.
    pub(super) fn prepare(paths: &Paths, options: &mut Options) -> Result<Self> {
        let image = guest_image::ensure(paths, &guest_image::Wish::default())?;
        let pool = image.folder().join(format!("{}-demo.img", options.name));
        let login = Self {
            port: free_port()?,
            pool,
            image,
        };
        File::create(&login.pool)?.set_len(POOL_BYTES)?;
        let forward = format!("user,hostfwd=tcp:127.0.0.1:{}-{ADDRESS}:22", login.port);
        let root = format!("{},ro", login.image.root().display());
        let pool = login.pool.display().to_string();
        let disks = [Disk::parse(&root)?, Disk::parse(&pool)?];
        options.disks.splice(0..0, disks);
        options.cards.insert(0, Card::parse(&forward)?);
        Ok(login)
    }

    /// Makes the guest's disk: an overlay over the image, which any number of guests can share.
    pub(super) fn make_disk(&self, host: &HostDir) -> Result<()> {
        Session::run_well(host, &["vol", "init", "pool", "/dev/vdb"])?;
        Session::run_well(
            host,
            &["vol", "create", "pool/debian", "--base", "/dev/vda"],
        )
        .map(drop)
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
        let _ = fs::remove_file(&self.pool);
    }
}

/// A port that nobody uses now; QEMU takes it a moment later.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
