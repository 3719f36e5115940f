//! Debian packages that are installed, for which it takes root.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;
use crate::progress::Step;

/// Something an installed package provides.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// The package.
    name: &'static str,
    /// What it is good for.
    purpose: &'static str,
    found: fn() -> bool,
}

impl Package {
    /// The machine.
    pub const QEMU: Self = Self {
        name: "qemu-system-x86",
        purpose: "runs hosts",
        found: || command::exists("qemu-system-x86_64"),
    };
    /// Xen's headers.
    pub const HEADERS: Self = Self {
        name: "libxen-dev",
        purpose: "the ABI test compares with its headers",
        found: || Path::new("/usr/include/xen/xen.h").is_file(),
    };
    /// A C compiler.
    pub const COMPILER: Self = Self {
        name: "gcc",
        purpose: "the ABI test compiles a C program",
        found: || command::exists("cc") || command::exists("gcc"),
    };
    /// A disassembler; gcc brings it, but who has no gcc may have another compiler.
    pub const DISASSEMBLER: Self = Self {
        name: "binutils",
        purpose: "a test reads the core's instructions",
        found: || command::exists("objdump"),
    };
    /// Debian's own way to make a tree of its packages.
    pub const MMDEBSTRAP: Self = Self {
        name: "mmdebstrap",
        purpose: "makes the guest image",
        found: || command::exists("mmdebstrap"),
    };
    /// The tools of ext4.
    pub const EXT4: Self = Self {
        name: "e2fsprogs",
        purpose: "writes and checks the guest image's file system",
        found: || command::find_admin("mke2fs").is_some(),
    };
    /// OpenSSH's client.
    pub const SSH: Self = Self {
        name: "openssh-client",
        purpose: "logs in to the guest image",
        found: || command::exists("ssh") && command::exists("ssh-keygen"),
    };
    /// The tools of FAT.
    pub const MTOOLS: Self = Self {
        name: "mtools",
        purpose: "writes the guest image's seed disk",
        found: || command::exists("mformat") && command::exists("mcopy"),
    };
    /// GRUB for machines with a BIOS.
    pub const GRUB_BIOS: Self = Self {
        name: "grub-pc-bin",
        purpose: "boots the ISO with a BIOS",
        found: || has_grub("i386-pc"),
    };
    /// GRUB for machines with UEFI.
    pub const GRUB_EFI: Self = Self {
        name: "grub-efi-amd64-bin",
        purpose: "boots the ISO with UEFI",
        found: || has_grub("x86_64-efi"),
    };
    /// What `grub-mkrescue` makes the ISO with.
    pub const XORRISO: Self = Self {
        name: "xorriso",
        purpose: "makes the ISO",
        found: || command::exists("xorriso"),
    };
    /// A UEFI firmware for QEMU.
    pub const OVMF: Self = Self {
        name: "ovmf",
        purpose: "a test boots the ISO with UEFI",
        found: || Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd").is_file(),
    };
    /// The other end of a guest's measurements.
    pub const IPERF: Self = Self {
        name: "iperf3",
        purpose: "a test has a guest exchange data with this machine",
        found: || command::exists("iperf3"),
    };
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::QEMU,
        Self::HEADERS,
        Self::COMPILER,
        Self::DISASSEMBLER,
        Self::MMDEBSTRAP,
        Self::EXT4,
        Self::SSH,
        Self::MTOOLS,
        Self::GRUB_BIOS,
        Self::GRUB_EFI,
        Self::XORRISO,
        Self::OVMF,
        Self::IPERF,
    ];
}

/// Whether GRUB's modules for a platform are there, and the program that puts them on an image.
fn has_grub(platform: &str) -> bool {
    let modules = Path::new("/usr/lib/grub").join(platform);
    modules.join("multiboot2.mod").is_file() && command::exists("grub-mkrescue")
}

/// Makes sure that packages are installed.
///
/// # Errors
///
/// One line that names those that are missing, and how to get them.
pub fn ensure(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|package| !(package.found)())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        eprintln!("{} is missing ({})", package.name, package.purpose);
    }
    install(
        &missing
            .iter()
            .map(|package| package.name)
            .collect::<Vec<_>>(),
    )
}

/// Installs packages.
///
/// # Errors
///
/// One line with the command to run, where we cannot.
pub fn install(names: &[&str]) -> Result<()> {
    let line = format!("apt-get install {}", names.join(" "));
    if !command::exists("apt-get") {
        bail!(
            "{} missing, and no apt here: get them from your system",
            names.join(" ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!("{} missing: run `sudo {line}`", names.join(" "));
    }
    let step = Step::begin(format!("installing {}", names.join(" ")));
    update()?;
    command::capture(
        Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(names)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    step.done();
    Ok(())
}

/// Fetches the lists of packages, if we may.
///
/// # Errors
///
/// If apt cannot.
pub fn update() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        command::capture(Command::new("apt-get").args(["-q", "update"]))?;
    }
    Ok(())
}
