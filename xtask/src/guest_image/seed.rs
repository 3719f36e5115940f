//! A disk for cloud-init's `NoCloud` source: a FAT file system with the label `cidata`.
//!
//! A domain that has it among its disks, and `ds=nocloud` on its kernel's command line, is set up
//! by what is on it.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result};

use super::{GuestImage, quietly};

const BYTES: u64 = 1 << 20;
const META_DATA: &str = "instance-id: radon-1\nlocal-hostname: seeded\n";

/// Makes it: the key may log in as root, and a file says that cloud-init was there.
pub(super) fn make(image: &GuestImage) -> Result<()> {
    let key = fs::read_to_string(image.key().with_extension("pub"))?;
    let file = image.seed();
    File::create(&file)?.set_len(BYTES)?;
    quietly(
        Command::new("mformat")
            .arg("-i")
            .arg(&file)
            .args(["-v", "CIDATA", "::"]),
    )
    .context("cannot make the seed disk")?;
    for (name, text) in [("meta-data", META_DATA), ("user-data", &user_data(&key))] {
        let source = image.folder().join(name);
        fs::write(&source, text)?;
        let mut mcopy = Command::new("mcopy");
        quietly(
            mcopy
                .arg("-i")
                .arg(&file)
                .arg(&source)
                .arg(format!("::{name}")),
        )?;
        fs::remove_file(&source)?;
    }
    Ok(())
}

fn user_data(key: &str) -> String {
    format!(
        "#cloud-config\n\
         disable_root: false\n\
         ssh_deletekeys: false\n\
         ssh_authorized_keys:\n  - {}\n\
         write_files:\n  - path: /etc/radon-seed\n    content: seeded\n",
        key.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_says_what_it_is_and_holds_the_key() {
        let text = user_data("ssh-ed25519 AAAA test\n");
        assert!(text.starts_with("#cloud-config\n"));
        assert!(text.contains("  - ssh-ed25519 AAAA test\n"));
    }
}
