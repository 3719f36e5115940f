//! Where things lie: all that is made lies in `build/` at the top of the workspace.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The workspace, and what is made in it.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The workspace this program was built from, or is run in.
    ///
    /// # Errors
    ///
    /// If it is no longer there.
    pub fn find() -> Result<Self> {
        let own = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let own = own.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = own
            .ancestors()
            .find(|folder| folder.join("xen-core").is_dir());
        ensure!(root.is_some(), "no workspace around {}", own.display());
        Ok(Self {
            root: root.unwrap_or(Path::new(".")).into(),
        })
    }

    /// A workspace somewhere else.
    #[cfg(test)]
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The top of the workspace.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for all that is made.
    #[must_use]
    pub fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The folder of the images for the machine.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.build().join("images")
    }

    /// The core, as a loader takes it.
    #[must_use]
    pub fn core_image(&self) -> PathBuf {
        self.images().join("radon")
    }

    /// dom0's kernel.
    #[must_use]
    pub fn dom0_image(&self) -> PathBuf {
        self.images().join("dom0")
    }

    /// A Rust guest's kernel, by the name of its folder in `tests/guests`.
    #[must_use]
    pub fn guest_image(&self, name: &str) -> PathBuf {
        self.images().join("guests").join(name)
    }

    /// One of Debian's kernels: `amd64` or `cloud-amd64`; it may not be there.
    #[must_use]
    pub fn kernel(&self, flavour: &str) -> PathBuf {
        self.build()
            .join("kernels")
            .join(format!("vmlinuz-{flavour}"))
    }

    /// PV-GRUB, a kernel that boots the kernel on a domain's own disk; it may not be there.
    #[must_use]
    pub fn pv_grub(&self) -> PathBuf {
        self.build().join("kernels").join("pv-grub")
    }

    /// The busybox ramdisk; it may not be there.
    #[must_use]
    pub fn ramdisk(&self) -> PathBuf {
        self.images().join("ramdisk.cpio.gz")
    }

    /// Unpacked packages of Debian.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.build().join("packages")
    }

    /// A host's folder.
    #[must_use]
    pub fn host(&self, name: &str) -> PathBuf {
        self.build().join("hosts").join(name)
    }
}
