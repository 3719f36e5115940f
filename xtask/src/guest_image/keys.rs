//! Who may log in, and how its user knows whom it talks to.
//!
//! The private key is made here and stays in the image's folder; the image holds the public one.
//! The image's own key was made with it: all its clones have the same, which is good for tests and
//! for nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{GuestImage, quietly};

/// The name under which the image's own key is known.
pub(super) const HOST_ALIAS: &str = "radon-guest";

/// Makes sure that there is a pair of keys, and returns the public one's line.
pub(super) fn ensure(image: &GuestImage) -> Result<String> {
    let public = image.key().with_extension("pub");
    if !image.key().is_file() || !public.is_file() {
        let _ = fs::remove_file(image.key());
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", HOST_ALIAS]);
        quietly(keygen.arg("-f").arg(image.key()))?;
    }
    fs::read_to_string(&public).with_context(|| format!("no {}", public.display()))
}

/// Keeps the image's own key in the form OpenSSH's client wants.
pub(super) fn note_host_key(image: &GuestImage, tree: &Path) -> Result<()> {
    let file = tree.join("etc/ssh/ssh_host_ed25519_key.pub");
    let key = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    fs::write(image.known_hosts(), format!("{HOST_ALIAS} {key}"))?;
    Ok(())
}

/// The client: asks nothing, trusts the image's own key only, takes nothing from its user's own
/// configuration.
pub(super) fn client(image: &GuestImage, port: u16) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]);
    ssh.args(["-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR"]);
    ssh.args(["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=20"]);
    ssh.arg("-o").arg(format!("HostKeyAlias={HOST_ALIAS}"));
    ssh.arg("-o").arg(format!(
        "UserKnownHostsFile=\"{}\"",
        image.known_hosts().display()
    ));
    ssh.arg("-i").arg(image.key());
    ssh.args(["-p", &port.to_string(), "root@127.0.0.1"]);
    ssh
}
