//! Hosts: Radon in QEMU, with dom0's management channel.
//!
//! A [`Machine`] is a running QEMU that belongs to this process: it ends with it, and its relay
//! runs here. A [`HostDir`] is what others find of it: sockets, console log, process number.

mod card;
mod disk;
mod folder;
mod qemu;
mod relay;

pub use card::Card;
pub use disk::Disk;
pub use folder::HostDir;
pub use qemu::{Options, Serial};

use std::os::unix::net::UnixListener;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths::Paths;

/// How long QEMU may take until its sockets are there.
const QEMU_START: Duration = Duration::from_secs(10);

/// A running host that belongs to this process.
#[derive(Debug)]
pub struct Machine {
    folder: HostDir,
    qemu: Child,
}

impl Machine {
    /// Starts a host, and the relay to its dom0. It is not ready yet.
    ///
    /// # Errors
    ///
    /// If a host of that name runs already, or QEMU does not start.
    pub fn start(paths: &Paths, options: &Options, serial: Serial) -> Result<Self> {
        let folder = HostDir::create(paths, &options.name)?;
        let listener = UnixListener::bind(folder.socket(folder::RELAY_SOCKET))
            .context("cannot make the relay's socket")?;
        let mut command = qemu::command(paths, options, serial);
        command.current_dir(folder.path());
        let qemu = command.spawn().context("cannot run qemu-system-x86_64")?;
        folder.write_pid(qemu.id())?;

        let mut machine = Self { folder, qemu };
        let stream = machine.connect_to_dom0()?;
        thread::spawn(move || relay::serve(stream, &listener));
        Ok(machine)
    }

    /// The host's folder.
    #[must_use]
    pub fn folder(&self) -> &HostDir {
        &self.folder
    }

    /// Waits until QEMU ends.
    ///
    /// # Errors
    ///
    /// If the system cannot tell.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.qemu.wait()?)
    }

    /// Waits until QEMU ends, but not beyond `deadline`; tells whether it did.
    ///
    /// # Errors
    ///
    /// If the system cannot tell.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<bool> {
        while self.qemu.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    fn connect_to_dom0(&mut self) -> Result<std::os::unix::net::UnixStream> {
        let deadline = Instant::now() + QEMU_START;
        loop {
            if let Ok(stream) = self.folder.connect(folder::QEMU_SOCKET) {
                return Ok(stream);
            }
            if self.qemu.try_wait()?.is_some() {
                bail!("QEMU did not start: {}", self.folder.last_words());
            }
            if Instant::now() > deadline {
                bail!("QEMU made no socket within {} s", QEMU_START.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it stays.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        self.folder.remove_traces();
    }
}
