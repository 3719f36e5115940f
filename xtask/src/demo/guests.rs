//! The guests of the demo, and what is expected of them.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::xl;
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
const PATIENCE: Duration = Duration::from_secs(180);

/// One guest.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) name: String,
    kernel: PathBuf,
    ramdisk: Option<PathBuf>,
    extra: &'static str,
    memory: u32,
    vcpus: u32,
    /// What its report holds.
    report: &'static str,
}

impl Guest {
    /// The smallest Rust guest; it says hello and stays.
    pub(super) fn hello(paths: &Paths) -> Self {
        Self {
            name: "hello".to_owned(),
            kernel: paths.guest_image("hello"),
            ramdisk: None,
            extra: "stay",
            memory: 32,
            vcpus: 1,
            report: "hello",
        }
    }

    /// One of Debian's kernels with the busybox ramdisk.
    pub(super) fn debian(paths: &Paths, flavour: &str) -> Self {
        Self {
            name: format!("debian-{flavour}"),
            kernel: paths.kernel(flavour),
            ramdisk: Some(paths.ramdisk()),
            extra: "console=hvc0",
            memory: 256,
            vcpus: 2,
            report: busybox::REPORT,
        }
    }

    /// Creates it.
    pub(super) fn create(&self, host: &HostDir) -> Result<()> {
        let mut settings = vec![
            format!("name=\"{}\"", self.name),
            format!("kernel=\"{}\"", self.kernel.display()),
            format!("extra=\"{}\"", self.extra),
            format!("memory={}", self.memory),
            format!("vcpus={}", self.vcpus),
        ];
        settings.extend(
            self.ramdisk
                .iter()
                .map(|file| format!("ramdisk=\"{}\"", file.display())),
        );
        let argv: Vec<_> = std::iter::once("create")
            .chain(settings.iter().map(String::as_str))
            .collect();
        xl(host, &argv).map(drop)
    }

    /// Waits for its report, and returns that line.
    pub(super) fn wait_for_report(&self, host: &HostDir) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let log = self.console(host)?;
            if let Some(line) = log.lines().find(|line| line.contains(self.report)) {
                return Ok(line.trim().to_owned());
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
        xl(host, &["console", "--log", &self.name])
    }

    /// Checks that all went well.
    pub(super) fn check(&self, log: &str) -> Result<()> {
        for word in BAD_WORDS {
            ensure!(!log.contains(word), "{word} in the log of {}", self.name);
        }
        let cpus = format!("cpus={}", self.vcpus);
        if self.ramdisk.is_some() {
            ensure!(
                log.contains(&cpus),
                "{}: not all vCPUs are on line",
                self.name
            );
        }
        Ok(())
    }
}
