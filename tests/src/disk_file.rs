//! Files that hosts have as disks: they go when the test is over, unless it failed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::part;
use crate::host::{Outcome, workspace};

/// A raw disk image.
#[derive(Debug)]
pub struct DiskFile {
    file: PathBuf,
}

impl DiskFile {
    /// An empty one, all holes.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn empty(name: &str, mib: u64) -> Self {
        let disk = Self::named(name);
        let file = File::create(&disk.file).expect("the file can be made");
        file.set_len(mib << 20).expect("it can be sparse");
        disk
    }

    /// One with an empty ext4 file system.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn ext4(name: &str, mib: u64) -> Self {
        let disk = Self::empty(name, mib);
        let mut mke2fs = Command::new(admin("mke2fs"));
        // The smallest journal there is, so that it comes round.
        mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=4"]);
        let outcome = Outcome::of(mke2fs.arg(&disk.file));
        assert_eq!(outcome.status, 0, "no file system: {outcome:?}");
        disk
    }

    /// A copy of the guest image's root file system.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn root(name: &str) -> Self {
        let disk = Self::named(name);
        let mut cp = Command::new("cp");
        cp.args(["--sparse=always", "--reflink=auto"]);
        let outcome = Outcome::of(cp.arg(part("root.img")).arg(&disk.file));
        assert_eq!(outcome.status, 0, "no copy: {outcome:?}");
        disk
    }

    fn named(name: &str) -> Self {
        let folder = workspace().join("build/test-disks");
        fs::create_dir_all(&folder).expect("the folder can be made");
        let file = folder.join(format!("{name}-{}.img", std::process::id()));
        Self { file }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// The `--disk` option of a host that has it.
    #[must_use]
    pub fn option(&self) -> String {
        format!("--disk={}", self.file.display())
    }

    /// Checks the file system on it, without writing.
    ///
    /// # Panics
    /// When anything is wrong with it.
    pub fn assert_clean(&self) {
        let mut e2fsck = Command::new(admin("e2fsck"));
        let outcome = Outcome::of(e2fsck.arg("-fn").arg(&self.file));
        assert_eq!(outcome.status, 0, "the file system is broken: {outcome:?}");
    }

    /// Reads a file of the file system on it.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> String {
        let mut debugfs = Command::new(admin("debugfs"));
        let outcome = Outcome::of(debugfs.args(["-R", &format!("cat {path}")]).arg(&self.file));
        assert_eq!(outcome.status, 0, "cannot read {path}: {outcome:?}");
        outcome.stdout
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.file.display());
        } else {
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// A program of the system's administrator, whose folder may not be in our path.
fn admin(program: &str) -> PathBuf {
    let file = Path::new("/sbin").join(program);
    if file.exists() { file } else { program.into() }
}
