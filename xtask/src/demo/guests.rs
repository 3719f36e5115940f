//! The guests of the demo, and what is expected of them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::client::Session;
use crate::guest_image::GuestImage;
use crate::machine::HostDir;
use crate::paths::Paths;
use crate::setup::busybox;

/// Words that no healthy boot log holds.
const BAD_WORDS: [&str; 6] = [
    "BUG",
    "WARNING",
    "Oops",
    "Call Trace",
    "unimplemented",
    "Kernel panic",
];
/// How long a guest may take to report.
const PATIENCE: Duration = Duration::from_secs(240);
/// The card's address is one that no other guest has, so QEMU's network gives it its first lease.
const CARD: &str = "mac=00:16:3e:52:41:44";

/// One guest.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) name: String,
    /// Its configuration.
    settings: Vec<String>,
    /// What its report holds.
    report: &'static str,
    /// What its log must hold as well.
    proof: Option<&'static str>,
    created: Instant,
}

impl Guest {
    fn new(name: &str, kernel: &Path, report: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            settings: vec![
                format!("name=\"{name}\""),
                format!("kernel=\"{}\"", kernel.display()),
            ],
            report,
            proof: None,
            created: Instant::now(),
        }
    }

    fn with(mut self, settings: &[&str]) -> Self {
        self.settings
            .extend(settings.iter().map(ToString::to_string));
        self
    }

    fn with_ramdisk(self, file: &Path) -> Self {
        self.with(&[&format!("ramdisk=\"{}\"", file.display())])
    }

    /// The smallest Rust guest; it says hello and stays.
    pub(super) fn hello(paths: &Paths) -> Self {
        Self::new("hello", &paths.guest_image("hello"), "hello")
            .with(&["extra=\"stay\"", "memory=32"])
    }

    /// One of Debian's kernels with the busybox ramdisk.
    pub(super) fn kernel(paths: &Paths, flavour: &str) -> Self {
        let name = format!("debian-{flavour}");
        let guest = Self::new(&name, &paths.kernel(flavour), busybox::REPORT)
            .with_ramdisk(&paths.ramdisk())
            .with(&["extra=\"console=hvc0\"", "memory=256", "vcpus=2"]);
        Self {
            proof: Some("cpus=2"),
            ..guest
        }
    }

    /// The whole Debian: it boots from an overlay over the image on the host's disk, and has a card
    /// on the host's network.
    pub(super) fn debian(image: &GuestImage) -> Self {
        let card = format!("vif=['{CARD},bridge=xenbr0']");
        Self::new("debian", &image.kernel(), "login:")
            .with_ramdisk(&image.ramdisk())
            .with(&["extra=\"root=/dev/xvda ro console=hvc0\""])
            .with(&["memory=512", "vcpus=2"])
            .with(&["disk=['phy:/dev/pool/debian,xvda,w']", &card])
    }

    /// Creates it.
    pub(super) fn create(&mut self, host: &HostDir) -> Result<()> {
        self.created = Instant::now();
        let argv: Vec<_> = std::iter::once("create")
            .chain(self.settings.iter().map(String::as_str))
            .collect();
        Session::run_well(host, &argv).map(drop)
    }

    /// Waits for its report, and returns that line and how long it took since its creation.
    pub(super) fn wait_for_report(&self, host: &HostDir) -> Result<(String, Duration)> {
        while self.created.elapsed() < PATIENCE {
            let log = self.console(host)?;
            if let Some(line) = log.lines().find(|line| line.contains(self.report)) {
                return Ok((line.trim().to_owned(), self.created.elapsed()));
            }
            thread::sleep(Duration::from_millis(250));
        }
        let log = self.console(host)?;
        let last = log.lines().last().unwrap_or("it said nothing").to_owned();
        bail!(
            "{} did not report within {} s; its last line: {last}",
            self.name,
            PATIENCE.as_secs()
        )
    }

    /// All it has said.
    pub(super) fn console(&self, host: &HostDir) -> Result<String> {
        Session::run_well(host, &["console", "--log", &self.name])
    }

    /// Checks that all went well.
    pub(super) fn check(&self, log: &str) -> Result<()> {
        check_words(&self.name, log)?;
        let proof = self.proof.unwrap_or_default();
        ensure!(
            log.contains(proof),
            "no {proof} in the log of {}",
            self.name
        );
        Ok(())
    }
}

/// Checks that a log holds no sign of trouble.
pub(super) fn check_words(whose: &str, log: &str) -> Result<()> {
    for word in BAD_WORDS {
        ensure!(!log.contains(word), "{word} in the log of {whose}");
    }
    Ok(())
}
