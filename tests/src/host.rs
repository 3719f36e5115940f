//! A host under test.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::check::{self, Usage};
use crate::slots::Slot;
use crate::wait::{Patience, until};

/// A running host; it goes down with this value.
#[derive(Debug)]
pub struct Host {
    name: String,
    /// Given up after the host has gone down.
    _slot: Slot,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Host {
    /// Boots a host with `cpus` CPUs and `memory` (as in `--memory`).
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up(name: &str, cpus: u32, memory: &str) -> Self {
        Self::up_with::<&str>(name, cpus, memory, &[])
    }

    /// The same with more words for `xtask up`, such as `--disk FILE`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn up_with<A: AsRef<OsStr>>(name: &str, cpus: u32, memory: &str, words: &[A]) -> Self {
        let host = Self {
            name: format!("test-{name}-{}", std::process::id()),
            _slot: Slot::take(),
        };
        let cpus = cpus.to_string();
        let args = [
            "up",
            "--no-build",
            "--name",
            &host.name,
            "--cpus",
            &cpus,
            "--memory",
            memory,
        ];
        let mut command = xtask(args);
        command.args(words);
        let outcome = Outcome::of(&mut command);
        assert_eq!(outcome.status, 0, "the host did not come up: {outcome:?}");
        host
    }

    /// Runs `xl` with these arguments.
    ///
    /// # Panics
    /// When it cannot be run at all.
    #[must_use]
    pub fn xl<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        let mut command = xtask(["xl", "--host", &self.name]);
        command.args(args);
        Outcome::of(&mut command)
    }

    /// Runs `xl`, which must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn xl_ok<const N: usize>(&self, args: [&str; N]) -> String {
        let outcome = self.xl(args);
        assert_eq!(outcome.status, 0, "xl {args:?} failed: {outcome:?}");
        outcome.stdout
    }

    /// Starts `xl` with these arguments and leaves it running, with nothing to read and nobody
    /// who listens. It is the caller's to end.
    ///
    /// # Panics
    /// When it cannot be run at all.
    #[must_use]
    pub fn spawn<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Child {
        let mut command = xtask(["xl", "--host", &self.name]);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn();
        child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
    }

    /// Creates a domain from `key=value` settings.
    ///
    /// # Panics
    /// When that fails.
    pub fn create(&self, settings: &[String]) {
        let args = std::iter::once("create").chain(settings.iter().map(String::as_str));
        let outcome = self.xl(args);
        assert_eq!(outcome.status, 0, "create {settings:?}: {outcome:?}");
    }

    /// The `State` column of a domain, if it is listed.
    #[must_use]
    pub fn state(&self, domain: &str) -> Option<String> {
        let list = self.xl_ok(["list"]);
        let row = list
            .lines()
            .find(|row| row.split_whitespace().next() == Some(domain))?;
        row.split_whitespace().nth(4).map(str::to_owned)
    }

    /// What a domain has written to its console so far.
    #[must_use]
    pub fn console(&self, domain: &str) -> String {
        self.xl(["console", "--log", domain]).stdout
    }

    /// Waits until a domain's console holds `text`, and returns the console.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait_for_text(&self, domain: &str, text: &str, patience: Patience) -> String {
        let mut console = String::new();
        let start = Instant::now();
        while start.elapsed() < patience.0 {
            console = self.console(domain);
            if console.contains(text) {
                return console;
            }
            sleep(Duration::from_millis(200));
        }
        panic!(
            "no {text:?} on {domain}'s console after {:?}:\n{console}",
            patience.0
        )
    }

    /// Waits until a domain is gone from the list.
    ///
    /// # Panics
    /// When it stays.
    pub fn wait_until_gone(&self, domain: &str, patience: Patience) {
        until(&format!("the end of {domain}"), patience, || {
            self.state(domain).is_none().then_some(())
        });
    }

    /// The core's log.
    #[must_use]
    pub fn dmesg(&self) -> String {
        self.xl_ok(["dmesg"])
    }

    /// Ends the host's QEMU at once, as a power cut ends a machine.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn cut_power(&self) {
        let folder = workspace().join("build/hosts").join(&self.name);
        let pid = fs::read_to_string(folder.join("qemu.pid")).expect("QEMU's number is noted");
        let kill = Outcome::of(&mut command("kill", ["-KILL", pid.trim()]));
        assert_eq!(kill.status, 0, "QEMU was not ended: {kill:?}");
        let gone = || (!Path::new("/proc").join(pid.trim()).exists()).then_some(());
        until("QEMU's end", Patience::SHORT, gone);
    }

    /// Everything that the host's serial port has said.
    #[must_use]
    pub fn serial_log(&self) -> String {
        let file = workspace().join("build/hosts").join(&self.name);
        let bytes = fs::read(file.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Counts what is in use, to be compared later, once it has come to rest.
    ///
    /// # Panics
    /// When it does not come to rest.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut before = check::usage(self);
        until("figures that stand still", Patience::SHORT, || {
            let now = check::usage(self);
            let same = now == before;
            before.clone_from(&now);
            same.then_some(now)
        })
    }

    /// Ends a scenario: the invariants hold over all of memory, and everything that was not in
    /// use at `baseline` has been given back.
    ///
    /// # Panics
    /// When either is not so.
    pub fn assert_clean(&self, baseline: &Usage) {
        check::sweep(self);
        let start = Instant::now();
        let mut now = check::usage(self);
        // The last of a domain goes a moment after its end is known; on a busy machine, later.
        while now != *baseline && start.elapsed() < Patience::SHORT.0 {
            sleep(Duration::from_millis(200));
            now = check::usage(self);
        }
        assert_eq!(now, *baseline, "something leaked");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let outcome = Outcome::of(&mut xtask(["down", "--name", &self.name]));
        if outcome.status != 0 {
            eprintln!("{} did not go down: {outcome:?}", self.name);
        }
    }
}

impl Outcome {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self::from(&output)
    }
}

impl From<&Output> for Outcome {
    fn from(output: &Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The command under test: the `xtask` that runs these tests, or the one last built.
#[must_use]
pub fn xtask<const N: usize>(args: [&str; N]) -> Command {
    let program = env::var_os("RADON_XTASK")
        .map_or_else(|| workspace().join("target/debug/xtask"), PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(workspace()).args(args);
    command
}

/// Some other command.
fn command<const N: usize>(program: &str, args: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

/// The top of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The image of a test guest, by name.
#[must_use]
pub fn image(guest: &str) -> PathBuf {
    workspace().join("build/images/guests").join(guest)
}

/// A Debian kernel: `amd64` or `cloud-amd64`, if the set-up could get it.
#[must_use]
pub fn kernel(flavour: &str) -> PathBuf {
    workspace()
        .join("build/kernels")
        .join(format!("vmlinuz-{flavour}"))
}

/// The busybox ramdisk.
#[must_use]
pub fn ramdisk() -> PathBuf {
    workspace().join("build/images/ramdisk.cpio.gz")
}
