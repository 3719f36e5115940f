//! A Debian whose first program is a shell on its console.
//!
//! Nothing else runs in it: no systemd, no daemon, no clock of theirs that ticks into what is
//! measured. Its root file system is the image itself, which it cannot write.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{Event, Input, Session};
use crate::guest_image::GuestImage;
use crate::machine::HostDir;

/// How long the guest may take until its shell asks for a line.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);
/// How long one line may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the shell says before it asks for its first line.
const GREETING: &str = "job control turned off";

/// The shell of one guest.
#[derive(Debug)]
pub(super) struct Shell {
    name: String,
    session: Session,
    input: Input,
    /// What it said and nobody has looked at yet.
    heard: String,
    /// How many lines it was given.
    lines: u32,
}

impl Shell {
    /// Creates a guest with more `key=value` settings; its root is the host's first disk.
    pub(super) fn create(host: &HostDir, image: &GuestImage, guest: &Guest<'_>) -> Result<Self> {
        let name = guest.name;
        let words = "root=/dev/xvda ro console=hvc0 quiet fastboot init=/bin/sh";
        let disks: String = guest.disks.iter().map(|d| format!(", '{d}'")).collect();
        let mut settings = vec![
            "create".to_owned(),
            format!("name=\"{name}\""),
            format!("kernel=\"{}\"", image.kernel().display()),
            format!("ramdisk=\"{}\"", image.ramdisk().display()),
            format!("extra=\"{words}\""),
            "memory=512".to_owned(),
            format!("disk=['phy:/dev/vda,xvda,r'{disks}]"),
        ];
        if let Some(mac) = guest.mac {
            settings.push(format!("vif=['mac={mac},bridge=xenbr0']"));
        }
        let argv: Vec<_> = settings.iter().map(String::as_str).collect();
        Session::run_well(host, &argv)?;
        let console = vec!["console".to_owned(), name.to_owned()];
        let session = Session::start(host, console, None)?;
        Ok(Self {
            name: name.to_owned(),
            input: session.input(),
            session,
            heard: String::new(),
            lines: 0,
        })
    }

    /// Waits until it asks for a line.
    pub(super) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT_PATIENCE;
        self.hear(GREETING, deadline)?;
        self.hear("# ", deadline)?;
        self.run("stty -echo; PS1=; PATH=/usr/sbin:/usr/bin; mount -t tmpfs tmp /tmp; cd /tmp")?;
        Ok(())
    }

    /// Gives it a line, which must succeed, and returns what it says.
    pub(super) fn run(&mut self, line: &str) -> Result<String> {
        self.lines += 1;
        // Echoed or not, the line itself does not hold what marks its end.
        let typed = format!("{line}; printf '\\n%s-%d:%d:\\n' end {} $?\n", self.lines);
        self.input.send(typed.as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        let said = self.hear(&format!("\nend-{}:", self.lines), deadline)?;
        let status = self.hear(":", deadline)?;
        if status != "0" {
            let last = said.lines().rev().find(|line| !line.trim().is_empty());
            bail!(
                "{}: `{line}` failed ({status}): {}",
                self.name,
                last.unwrap_or("no reason").trim()
            );
        }
        Ok(said)
    }

    /// Waits for a text, and returns what came before it.
    fn hear(&mut self, text: &str, deadline: Instant) -> Result<String> {
        loop {
            if let Some((before, after)) = self.heard.split_once(text) {
                let before = before.to_owned();
                self.heard = after.to_owned();
                return Ok(before);
            }
            let event = self.session.next_event_before(Some(deadline));
            match event.with_context(|| self.last_words())? {
                Event::Stdout(bytes) => {
                    let said = String::from_utf8_lossy(&bytes);
                    self.heard
                        .extend(said.chars().filter(|&letter| letter != '\r'));
                }
                Event::Exit(_) => bail!("{} is gone: {}", self.name, self.last_words()),
                Event::Stderr(_) | Event::RawTerminal(_) => {}
            }
        }
    }

    fn last_words(&self) -> String {
        let last = self
            .heard
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty());
        format!(
            "{} said last: {}",
            self.name,
            last.unwrap_or("nothing").trim()
        )
    }
}

/// What a guest is to have.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) name: &'a str,
    /// Disks beside its root.
    pub(super) disks: &'a [&'a str],
    /// The address of its card, if it has one.
    pub(super) mac: Option<&'a str>,
}
