//! A host's folder: what other processes find of it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::paths::Paths;

/// Where the relay listens for `xl` commands.
pub(super) const RELAY_SOCKET: &str = "mgmt.sock";
/// QEMU's end of dom0's management channel.
pub(super) const QEMU_SOCKET: &str = "mgmt-qemu.sock";
/// QEMU's end of the serial port.
pub(super) const SERIAL_SOCKET: &str = "serial.sock";
/// Everything the serial port said.
pub(super) const CONSOLE_LOG: &str = "console.log";
/// What QEMU itself said.
pub(super) const QEMU_LOG: &str = "qemu.log";
/// QEMU's process number.
const PID_FILE: &str = "qemu.pid";

/// A host's folder, open.
#[derive(Debug)]
pub struct HostDir {
    name: String,
    path: PathBuf,
    /// Held open for the short way to sockets; locked by the process the host belongs to.
    folder: File,
}

impl HostDir {
    /// Makes (or takes over) the folder for a host that is to run in this process.
    ///
    /// # Errors
    ///
    /// If a host of that name runs already.
    pub(super) fn create(paths: &Paths, name: &str) -> Result<Self> {
        ensure!(
            !name.is_empty()
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter)),
            "{name:?} cannot be a host's name: letters, digits, - and _ only"
        );
        let path = paths.host(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let host = Self::at(name, path)?;
        // Those who only ask whether it runs hold the lock for a moment, too.
        let mut tries = 0..20;
        while flock(&host.folder, FlockOperation::NonBlockingLockExclusive).is_err() {
            if tries.next().is_some() {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            bail!("host {name} runs already: `cargo xtask down --name {name}` ends it");
        }
        host.stop_qemu();
        host.remove_traces();
        for log in [CONSOLE_LOG, QEMU_LOG] {
            fs::write(host.path.join(log), "")?;
        }
        Ok(host)
    }

    /// The folder of a host that runs.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn open(paths: &Paths, name: &str) -> Result<Self> {
        let host = Self::at(name, paths.host(name))
            .ok()
            .filter(HostDir::is_running);
        host.with_context(|| {
            format!("no host {name} runs: `cargo xtask up --name {name}` boots one")
        })
    }

    fn at(name: &str, path: PathBuf) -> Result<Self> {
        let folder = File::open(&path)?;
        Ok(Self {
            name: name.to_owned(),
            path,
            folder,
        })
    }

    /// Whether some process holds the host.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // A shared lock is refused while the exclusive one is held.
        let held = flock(&self.folder, FlockOperation::NonBlockingLockShared).is_err();
        if !held {
            let _ = flock(&self.folder, FlockOperation::Unlock);
        }
        held
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything the host's serial port has said.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.path.join(CONSOLE_LOG)
    }

    /// Connects to the relay.
    ///
    /// # Errors
    ///
    /// If nobody listens.
    pub fn connect_to_relay(&self) -> Result<UnixStream> {
        let stream = self.connect(RELAY_SOCKET);
        stream.with_context(|| format!("host {} does not answer", self.name))
    }

    /// Connects to one of the host's sockets.
    pub(super) fn connect(&self, socket: &str) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.socket(socket))
    }

    /// A socket's path, by way of the open folder: real paths may be too long for a socket.
    pub(super) fn socket(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.folder.as_raw_fd()).into()
    }

    /// Notes QEMU's process number.
    pub(super) fn write_pid(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.path.join(PID_FILE), pid.to_string())?)
    }

    /// Asks this host's QEMU to end, if there is one; tells whether there was.
    pub fn stop_qemu(&self) -> bool {
        let text = fs::read_to_string(self.path.join(PID_FILE)).unwrap_or_default();
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
            return false;
        };
        // The number may be another process's by now: this host's QEMU works in its folder.
        let home = fs::read_link(format!("/proc/{}/cwd", text.trim()));
        let is_ours = home.ok() == fs::canonicalize(&self.path).ok();
        is_ours && kill_process(pid, Signal::TERM).is_ok()
    }

    /// Waits until nobody holds the host; tells whether that came to pass.
    #[must_use]
    pub fn wait_until_gone(&self, patience: Duration) -> bool {
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while self.is_running() && waited < patience {
            std::thread::sleep(step);
            waited += step;
        }
        !self.is_running()
    }

    /// Removes what must not be found of a host that does not run. Logs stay.
    pub(super) fn remove_traces(&self) {
        for name in [RELAY_SOCKET, QEMU_SOCKET, SERIAL_SOCKET, PID_FILE] {
            let _ = fs::remove_file(self.path.join(name));
        }
    }

    /// The last line the host said, on its console or through QEMU.
    #[must_use]
    pub fn last_words(&self) -> String {
        let last = |log| {
            let bytes = fs::read(self.path.join(log)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty())
                .map(str::to_owned)
        };
        last(QEMU_LOG)
            .or_else(|| last(CONSOLE_LOG))
            .unwrap_or_else(|| "it said nothing".into())
    }
}
