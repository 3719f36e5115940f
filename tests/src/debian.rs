//! A whole Debian in a domain, which this machine's own OpenSSH client logs in to.
//!
//! The image is `cargo xtask image`'s. Each guest has an address of its own, given on its kernel's
//! command line, and a port of 127.0.0.1 that QEMU forwards to it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::host::{Host, Outcome, workspace};
use crate::wait::{Patience, until};

/// Words that no healthy log of a kernel holds.
pub const BAD_WORDS: [&str; 6] = [
    "BUG",
    "WARNING",
    "Oops",
    "Call Trace",
    "unimplemented",
    "Kernel panic",
];

/// The way to one guest: its address, and the port that leads there.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    last_byte: u8,
    port: u16,
}

impl Way {
    /// As many ways as that, for guests on one host.
    #[must_use]
    pub fn new<const N: usize>() -> [Self; N] {
        let mut last_byte = 14;
        [(); N].map(|()| {
            last_byte += 1;
            Self {
                last_byte,
                port: free_port(),
            }
        })
    }

    /// The `--net` option of a host that has all of these.
    #[must_use]
    pub fn option(ways: &[Self]) -> String {
        let forward = |way: &Self| {
            let (port, address) = (way.port, way.address());
            format!(",hostfwd=tcp:127.0.0.1:{port}-{address}:22")
        };
        let forwards: String = ways.iter().map(forward).collect();
        format!("--net=user{forwards}")
    }

    /// The guest's address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.0.2.{}", self.last_byte)
    }

    /// Words for the guest's kernel.
    fn kernel_words(self) -> String {
        format!("ip={}::10.0.2.2:255.255.255.0::enX0:off", self.address())
    }
}

/// A Debian that lets us in.
#[derive(Debug)]
pub struct Debian<'a> {
    host: &'a Host,
    name: &'a str,
    port: u16,
}

impl<'a> Debian<'a> {
    /// Boots one with a card on `xenbr0` and more `key=value` settings, and waits until it lets
    /// us in.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn boot(host: &'a Host, name: &'a str, way: Way, settings: &[&str]) -> Self {
        let guest = Self::create(host, name, way, settings);
        guest.wait();
        guest
    }

    /// Creates one, without waiting.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn create(host: &'a Host, name: &'a str, way: Way, settings: &[&str]) -> Self {
        let words = format!("root=/dev/xvda ro console=hvc0 {}", way.kernel_words());
        let mut all = vec![
            format!("name=\"{name}\""),
            format!("kernel=\"{}\"", part("vmlinuz").display()),
            format!("ramdisk=\"{}\"", part("initrd.img").display()),
            format!("extra=\"{words}\""),
            format!("vif=['mac={},bridge=xenbr0']", mac(way.last_byte)),
            "on_crash=\"preserve\"".to_owned(),
        ];
        if !settings
            .iter()
            .any(|setting| setting.starts_with("memory="))
        {
            all.push("memory=384".to_owned());
        }
        all.extend(settings.iter().map(ToString::to_string));
        host.create(&all);
        Self::known(host, name, way)
    }

    /// One that was created in some other way.
    #[must_use]
    pub fn known(host: &'a Host, name: &'a str, way: Way) -> Self {
        let port = way.port;
        Self { host, name, port }
    }

    /// Waits until it lets us in.
    ///
    /// # Panics
    /// When it never does.
    pub fn wait(&self) {
        let _ = self.host.wait_for_text(self.name, "login:", Patience::BOOT);
        until("a login by SSH", Patience::BOOT, || {
            (self.run("true").status == 0).then_some(())
        });
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Runs a line of its shell.
    ///
    /// # Panics
    /// When the client cannot be run at all.
    #[must_use]
    pub fn run(&self, line: &str) -> Outcome {
        Outcome::of(&mut self.ssh(line))
    }

    /// Runs a line of its shell, which must succeed, and returns its output.
    ///
    /// # Panics
    /// When it fails: says how, and the end of the guest's console.
    #[must_use]
    pub fn run_ok(&self, line: &str) -> String {
        let outcome = self.run(line);
        if outcome.status != 0 {
            let console = self.host.console(self.name);
            let lines: Vec<_> = console.lines().rev().take(20).collect();
            panic!("{line:?} failed: {outcome:?}\nits console, backwards: {lines:#?}");
        }
        outcome.stdout
    }

    /// Starts a line of its shell and leaves it running.
    ///
    /// # Panics
    /// When the client cannot be run at all.
    #[must_use]
    pub fn start(&self, line: &str) -> Running {
        let mut ssh = self.ssh(line);
        ssh.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = ssh.stderr(Stdio::piped()).spawn();
        Running {
            line: line.to_owned(),
            child: Some(child.expect("OpenSSH's client can be run")),
        }
    }

    /// Powers it off from inside, and waits until it is gone; its kernel's log must show no sign
    /// of trouble.
    ///
    /// # Panics
    /// When it does, or the guest stays.
    pub fn power_off(&self) {
        let log = self.run_ok("dmesg");
        for word in BAD_WORDS {
            assert!(!log.contains(word), "{word} in the log:\n{log}");
        }
        // The connection may end before the answer.
        let _ = self.run("systemctl poweroff");
        self.host.wait_until_gone(self.name, Patience::BOOT);
    }

    fn ssh(&self, line: &str) -> Command {
        let mut ssh = Command::new("ssh");
        let known = format!("UserKnownHostsFile=\"{}\"", part("known_hosts").display());
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            "LogLevel=ERROR",
            "ConnectTimeout=30",
            "ServerAliveInterval=60",
            "HostKeyAlias=radon-guest",
            &known,
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args(["-F", "none", "-i"]).arg(part("ssh_key"));
        ssh.args(["-p", &self.port.to_string(), "root@127.0.0.1", line]);
        ssh
    }
}

/// A line that runs in a guest.
#[derive(Debug)]
pub struct Running {
    line: String,
    /// There until it is waited for.
    child: Option<Child>,
}

impl Running {
    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for its end, which must be a good one, and returns its output.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn finish(mut self) -> String {
        let child = self.child.take().expect("nobody has waited for it");
        let output = child.wait_with_output().expect("it can be waited for");
        let outcome = Outcome::from(&output);
        assert_eq!(outcome.status, 0, "{:?} failed: {outcome:?}", self.line);
        outcome.stdout
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A part of the guest image.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn part<S: AsRef<OsStr>>(name: S) -> PathBuf {
    let file = workspace().join("build/guest").join(name.as_ref());
    assert!(
        file.exists(),
        "{} is missing: run cargo xtask image",
        file.display()
    );
    file.canonicalize().expect("it is there")
}

/// The address of a guest's card.
fn mac(last_byte: u8) -> String {
    format!("00:16:3e:52:41:{last_byte:02x}")
}

/// A port that nobody uses now; QEMU takes it a moment later.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}
