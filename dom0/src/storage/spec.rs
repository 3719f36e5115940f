//! How a disk is named by a user.

use alloc::string::String;

/// A disk as it is named, before anybody has looked whether there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Spec {
    /// `/dev/vda`, `vda`, `/dev/vda2`: a physical disk or a partition by number.
    Device(String),
    /// `/dev/disk/by-partlabel/NAME`: a partition by name.
    Label(String),
    /// `/dev/POOL/VOLUME` or `POOL/VOLUME`.
    Volume {
        /// The pool.
        pool: String,
        /// The volume.
        name: String,
    },
    /// `/path/x.img` or `dom0:/path/x.img`: a file of dom0's own file system.
    File(String),
}

/// Prefix of partitions by name.
const BY_LABEL: &str = "/dev/disk/by-partlabel/";
/// Prefix that names dom0's own file system wherever a host's file could be meant as well.
pub const OWN_FILES: &str = "dom0:";

impl Spec {
    /// What a user's words mean; none if they can mean nothing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix(BY_LABEL) {
            return filled(name).map(|name| Self::Label(name.into()));
        }
        if let Some(path) = text.strip_prefix(OWN_FILES) {
            return filled(path).map(|path| Self::File(path.into()));
        }
        let Some(rest) = text.strip_prefix("/dev/") else {
            return match text.split_once('/') {
                None => filled(text).map(|name| Self::Device(name.into())),
                Some(("", _)) => Some(Self::File(text.into())),
                Some((pool, name)) => Self::volume(pool, name),
            };
        };
        match rest.split_once('/') {
            None => filled(rest).map(|name| Self::Device(name.into())),
            Some((pool, name)) => Self::volume(pool, name),
        }
    }

    fn volume(pool: &str, name: &str) -> Option<Self> {
        let good = !pool.is_empty() && !name.is_empty() && !name.contains('/');
        good.then(|| Self::Volume {
            pool: pool.into(),
            name: name.into(),
        })
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A device's name as disk and partition number: `vda2` is `vda` and 2.
pub(super) fn partition_of(device: &str) -> Option<(&str, u32)> {
    let disk = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = device.get(disk.len()..)?.parse().ok()?;
    (!disk.is_empty()).then_some((disk, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_disk_is_understood() {
        let device = |name: &str| Some(Spec::Device(name.into()));
        assert_eq!(Spec::parse("vda"), device("vda"));
        assert_eq!(Spec::parse("/dev/vda2"), device("vda2"));
        assert_eq!(
            Spec::parse("/dev/disk/by-partlabel/data"),
            Some(Spec::Label("data".into()))
        );
        let volume = Spec::Volume {
            pool: "p".into(),
            name: "v".into(),
        };
        assert_eq!(Spec::parse("/dev/p/v"), Some(volume.clone()));
        assert_eq!(Spec::parse("p/v"), Some(volume));
        let file = Some(Spec::File("/a/b.img".into()));
        assert_eq!(Spec::parse("/a/b.img"), file);
        assert_eq!(Spec::parse("dom0:/a/b.img"), file);
    }

    #[test]
    fn words_that_name_nothing_are_refused() {
        for text in ["", "/dev/", "dom0:", "p/", "/dev/p/v/w", "/dev//v"] {
            assert_eq!(Spec::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_partition_is_a_disk_and_a_number() {
        assert_eq!(partition_of("vda12"), Some(("vda", 12)));
        assert_eq!(partition_of("vda"), None);
        assert_eq!(partition_of("12"), None);
    }
}
