//! What is in the image: packages, files, and what is done once they are there.
//!
//! The recipe's text is the image's stamp: whatever changes here makes a new image.

use std::fmt::Write;

use super::Wish;

/// Counted up when the way of making changes, and the recipe does not show it.
const EDITION: u32 = 1;

const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "lz4",
    "openssh-server",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "ethtool",
    "fio",
    "iperf3",
    "stress-ng",
];

/// Files, by their path in the image. Those of the ramdisk must be there before the kernel's
/// package is installed.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "debian\n"),
    (
        "etc/hosts",
        "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost\n",
    ),
    (
        "etc/fstab",
        "LABEL=root / ext4 defaults,errors=remount-ro 0 0\n",
    ),
    ("etc/default/locale", "LANG=C.UTF-8\n"),
    // Each clone of the image makes its own at its first boot, and keeps it.
    ("etc/machine-id", ""),
    ("etc/systemd/network/99-dhcp.network", NETWORK),
    // A domain's log is for the moment: it is not worth writes to its disk.
    (
        "etc/systemd/journald.conf.d/volatile.conf",
        "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n",
    ),
    (
        "etc/initramfs-tools/conf.d/radon",
        "MODULES=list\nCOMPRESS=zstd\n",
    ),
    // Loaded at once; ext4 is part of the kernel.
    (
        "usr/share/initramfs-tools/modules.d/radon",
        "xen-blkfront\nxen-netfront\n",
    ),
    // So that the image boots under a plain QEMU, too: loaded where such a device is.
    ("etc/initramfs-tools/hooks/virtio", VIRTIO_HOOK),
    ("etc/kernel/postinst.d/pv-grub", GRUB_HOOK),
    ("boot/grub/grub.cfg", GRUB),
    ("boot/grub/menu.lst", GRUB_LEGACY),
];

/// For cards of which the kernel's command line (`ip=…`) says nothing: that comes first. Two clones
/// may have one machine-id; their cards never have the same address.
const NETWORK: &str = "\
[Match]
Type=ether

[Network]
DHCP=ipv4

[DHCPv4]
ClientIdentifier=mac
";

const VIRTIO_HOOK: &str = "\
#!/bin/sh
[ \"$1\" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk
";

/// GRUB cannot read the LZ4 that Debian's cloud kernel is packed with, so the kernel proper is taken
/// out of its file and packed in a way GRUB knows. Where it begins and how long it is (with four
/// bytes of its unpacked size behind it) is told by Linux's boot protocol.
const GRUB_HOOK: &str = r#"#!/bin/sh
set -e
image=/boot/vmlinuz-$1
number() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
start=$((($(number 497 1) + 1) * 512 + $(number 584 4)))
length=$(($(number 588 4) - 4))
tail -c "+$((start + 1))" "$image" | head -c "$length" | lz4 -dc | gzip -1 > /boot/vmlinux.gz
"#;

/// PV-GRUB looks for this file on every disk.
const GRUB: &str = "\
set default=0
set timeout=0

menuentry 'Debian' {
    linux /boot/vmlinux.gz root=LABEL=root ro console=hvc0
    initrd /initrd.img
}
";

/// The same, for a loader that knows only the old form.
const GRUB_LEGACY: &str = "\
default 0
timeout 0

title Debian
root (hd0)
kernel /boot/vmlinux.gz root=LABEL=root ro console=hvc0
initrd /initrd.img
";

/// What wakes up by itself and has nothing to do in a domain that lives for minutes; the login
/// prompt of a screen that is not there; and file systems and modules that nothing here uses. In an
/// emulated machine, each of these is a good part of a second of the boot.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "modprobe@configfs.service",
    "modprobe@dm_mod.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "modprobe@loop.service",
];

const ENABLED: &[&str] = &[
    "systemd-networkd.service",
    "systemd-network-generator.service",
];

/// How one image is made.
#[derive(Debug)]
pub(super) struct Recipe {
    size: String,
    seed: bool,
    /// The public key that may log in.
    key: String,
}

impl Recipe {
    pub(super) fn new(wish: &Wish, key: &str) -> Self {
        Self {
            size: wish.size.clone(),
            seed: wish.seed,
            key: key.to_owned(),
        }
    }

    pub(super) fn size(&self) -> &str {
        &self.size
    }

    pub(super) fn has_seed(&self) -> bool {
        self.seed
    }

    /// The packages, separated by commas.
    pub(super) fn packages(&self) -> String {
        let more = if self.seed { &["cloud-init"][..] } else { &[] };
        [PACKAGES, more].concat().join(",")
    }

    /// Each file's path, contents and permission bits.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        let key = ("root/.ssh/authorized_keys", self.key.as_str());
        FILES.iter().copied().chain([key]).map(|(path, text)| {
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            (path, text, mode)
        })
    }

    /// What is run inside the tree in the end, by its shell. The login prompt's root has no
    /// password; by the network, only the key opens. The last line tells systemd that nothing
    /// was changed since, so that the first boot has nothing to bring up to date.
    pub(super) fn script(&self) -> String {
        format!(
            "set -e\n\
             passwd -q -d root\n\
             chmod 700 /root/.ssh\n\
             systemctl -q set-default multi-user.target\n\
             systemctl -q enable {}\n\
             systemctl -q mask {}\n\
             rm -rf /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/log/*.log /var/log/apt\n\
             touch /etc/.updated /var/.updated\n",
            ENABLED.join(" "),
            MASKED.join(" ")
        )
    }

    /// All of it, as text.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "edition {EDITION}\nsize {}\npackages {}\n{}",
            self.size,
            self.packages(),
            self.script()
        );
        for (path, contents, mode) in self.files() {
            // Writing to a string cannot fail.
            let _ = write!(text, "== {path} {mode:o}\n{contents}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(seed: bool) -> Recipe {
        let wish = Wish {
            seed,
            ..Wish::default()
        };
        Recipe::new(&wish, "ssh-ed25519 AAAA test\n")
    }

    #[test]
    fn cloud_init_is_there_only_with_a_seed() {
        assert!(!recipe(false).packages().contains("cloud-init"));
        assert!(recipe(true).packages().ends_with(",cloud-init"));
    }

    #[test]
    fn every_part_shows_in_the_stamp() {
        let text = recipe(false).text();
        for part in ["size 2G", "fio", "xen-blkfront", "AAAA", "mask", "755"] {
            assert!(text.contains(part), "{part} is not in the stamp");
        }
    }

    #[test]
    fn scripts_may_be_run_and_files_may_not() {
        for (path, text, mode) in recipe(false).files() {
            assert_eq!(mode == 0o755, text.starts_with("#!"), "{path}");
        }
    }
}
