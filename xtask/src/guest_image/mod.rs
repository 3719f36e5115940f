//! `image`: a whole Debian for domains, made from Debian's own packages.
//!
//! A [`GuestImage`] is a folder: an ext4 root file system in a raw file, the kernel and the ramdisk
//! that lie in it as well, and what its user needs to log in. It is made once and again only when
//! its recipe changes; to have newer packages in it, remove the folder. Nothing is ever mounted:
//! `mmdebstrap` fills a tree, `mke2fs` writes the tree into the file.

mod disk;
mod keys;
mod recipe;
mod seed;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::paths::Paths;
use crate::progress::Step;
use crate::setup::packages::{self, Package};
use recipe::Recipe;

/// The size of the file system, where nothing else is asked for.
pub const DEFAULT_SIZE: &str = "2G";

/// What an image is to be like.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The size of its file system, in `mke2fs`' words.
    pub size: String,
    /// Whether cloud-init is in it, and a seed disk beside it.
    pub seed: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            size: DEFAULT_SIZE.to_owned(),
            seed: false,
        }
    }
}

/// An image, by its folder.
#[derive(Clone, Debug)]
pub struct GuestImage {
    folder: PathBuf,
}

impl GuestImage {
    /// Where an image lies or will lie; the one with a seed has a folder of its own.
    #[must_use]
    pub fn at(paths: &Paths, seed: bool) -> Self {
        let name = if seed { "guest-seed" } else { "guest" };
        Self {
            folder: paths.build().join(name),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The root file system.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.join("root.img")
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The ramdisk that finds the root file system.
    #[must_use]
    pub fn ramdisk(&self) -> PathBuf {
        self.folder.join("initrd.img")
    }

    /// The private key that opens root's login; made here, and only here.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.join("ssh_key")
    }

    /// The image's own key, for OpenSSH's client.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// The `cidata` disk; only beside an image with cloud-init.
    #[must_use]
    pub fn seed(&self) -> PathBuf {
        self.folder.join("seed.img")
    }

    /// OpenSSH's client, told to log in as root at 127.0.0.1 on this port. The command follows.
    #[must_use]
    pub fn ssh(&self, port: u16) -> Command {
        keys::client(self, port)
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("recipe.txt")
    }

    /// Whether all of it is there, made by just this recipe.
    fn is_current(&self, recipe: &str) -> bool {
        let parts = [
            self.root(),
            self.kernel(),
            self.ramdisk(),
            self.known_hosts(),
        ];
        parts.iter().all(|part| part.is_file())
            && fs::read_to_string(self.stamp()).is_ok_and(|old| old == recipe)
    }
}

/// The verb: makes the image if it is not current, and says where it lies.
///
/// # Errors
///
/// If it cannot be made.
pub fn image(paths: &Paths, out: Option<&Path>, wish: &Wish) -> Result<()> {
    let image = ensure(paths, wish)?;
    let root = match out {
        Some(file) => {
            disk::copy(&image.root(), file)?;
            file.to_owned()
        }
        None => image.root(),
    };
    println!("root     {}", root.display());
    println!("kernel   {}", image.kernel().display());
    println!("ramdisk  {}", image.ramdisk().display());
    println!("key      {}", image.key().display());
    if wish.seed {
        println!("seed     {}", image.seed().display());
    }
    Ok(())
}

/// Makes the image if it is not current.
///
/// # Errors
///
/// One line: what is missing, or what failed.
pub fn ensure(paths: &Paths, wish: &Wish) -> Result<GuestImage> {
    disk::check_size(&wish.size)?;
    let image = GuestImage::at(paths, wish.seed);
    fs::create_dir_all(image.folder())?;
    packages::ensure(&[Package::EXT4, Package::SSH])?;
    let recipe = Recipe::new(wish, &keys::ensure(&image)?);
    if !image.is_current(&recipe.text()) {
        packages::ensure(&[Package::MMDEBSTRAP])?;
        if wish.seed {
            packages::ensure(&[Package::MTOOLS])?;
        }
        make(&image, &recipe).context("no guest image")?;
    }
    Ok(image)
}

/// Makes all of it anew. The stamp goes first and comes last: what is cut short is not current.
fn make(image: &GuestImage, recipe: &Recipe) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("making it takes root: run `cargo xtask image` as root once");
    }
    let step = Step::begin("making the guest image");
    let _ = fs::remove_file(image.stamp());
    let tree = tree::make(image.folder(), recipe, &step)?;
    step.at("writing the file system");
    disk::make(&image.root(), &tree, recipe.size())?;
    copy_boot_files(image, &tree)?;
    keys::note_host_key(image, &tree)?;
    fs::remove_dir_all(&tree).context("cannot remove the tree")?;
    if recipe.has_seed() {
        seed::make(image)?;
    }
    fs::write(image.stamp(), recipe.text())?;
    step.done();
    Ok(())
}

/// Debian keeps links to the current kernel and its ramdisk at the top of the tree.
fn copy_boot_files(image: &GuestImage, tree: &Path) -> Result<()> {
    for (link, to) in [("vmlinuz", image.kernel()), ("initrd.img", image.ramdisk())] {
        let from = tree.join(link);
        fs::copy(&from, &to).with_context(|| format!("no {}", from.display()))?;
    }
    Ok(())
}

/// Runs a program that makes something, for its effect.
fn quietly(command: &mut Command) -> Result<()> {
    command::capture(command).map(drop)
}
