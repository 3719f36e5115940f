//! `disk = [ '…' ]`: what `xl-disk-configuration(5)` describes.
//!
//! Parts are separated by commas. Those without a keyword are, in this order, target, format,
//! vdev and access; a prefix of the target (`phy:`, `file:`, `raw:`) takes the format's place.
//! `target=` goes last and takes all that is left, commas too.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::keys::nearest;
use super::vdev::Vdev;

/// Every keyword there is.
const KEYWORDS: [&str; 12] = [
    "target",
    "format",
    "vdev",
    "access",
    "devtype",
    "backendtype",
    "backend",
    "script",
    "cdrom",
    "discard",
    "no-discard",
    "direct-io-safe",
];
/// Prefixes of targets that say where and how it is stored.
const PREFIXES: [&str; 3] = ["phy:", "file:", "raw:"];
/// Formats that other hosts know.
const FOREIGN_FORMATS: [&str; 5] = ["qcow2", "qcow", "vhd", "qed", "empty"];

/// One disk of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// Where its contents are: a disk, a partition, a volume or a file of dom0's.
    pub target: String,
    /// What the guest knows it as.
    pub vdev: Vdev,
    /// The guest may only read.
    pub read_only: bool,
    /// The guest is told that it is a CD-ROM.
    pub cdrom: bool,
    /// The guest may give up sectors, if the target can.
    pub discard: bool,
}

impl DiskSpec {
    /// Reads a specification, and answers what is without effect in it, too.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), String> {
        let mut draft = Draft::default();
        let mut rest = Some(text.trim());
        while let Some(left) = rest {
            if let Some(target) = left.strip_prefix("target=") {
                draft.target(target)?;
                break;
            }
            let (part, behind) = match left.split_once(',') {
                Some((part, behind)) => (part, Some(behind.trim_start())),
                None => (left, None),
            };
            draft.part(part.trim())?;
            rest = behind;
        }
        draft.finish()
    }
}

/// A specification being read.
#[derive(Debug, Default)]
struct Draft {
    target: Option<String>,
    /// Whether a format was given, or a prefix instead.
    format: bool,
    vdev: Option<Vdev>,
    read_only: Option<bool>,
    cdrom: bool,
    no_discard: bool,
    warnings: Vec<String>,
}

impl Draft {
    fn part(&mut self, part: &str) -> Result<(), String> {
        match part.split_once('=') {
            // A path may hold `=`; a keyword holds no `/`.
            Some((key, value)) if !key.contains(['/', ':']) => {
                self.keyword(key.trim(), value.trim())
            }
            _ if KEYWORDS.contains(&part) => self.flag(part),
            _ => self.positional(part),
        }
    }

    fn keyword(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "target" => self.target(value),
            "format" => self.format(value),
            "vdev" => self.vdev(value),
            "access" => self.access(value),
            "devtype" if value == "disk" => Ok(()),
            "devtype" if value == "cdrom" => self.flag("cdrom"),
            "devtype" => Err(format!("devtype `{value}` is unknown; write disk or cdrom")),
            "backend" if matches!(value, "0" | "Domain-0") => Ok(()),
            "backend" => Err(format!(
                "there is no backend in `{value}`; leave `backend` out"
            )),
            "backendtype" => self.ignore(key, "there is one kind of backend"),
            "script" => self.ignore(key, "dom0 opens disks itself"),
            flag if KEYWORDS.contains(&flag) => {
                Err(format!("`{flag}` takes no value; write just `{flag}`"))
            }
            other => Err(match nearest(other, KEYWORDS) {
                Some(meant) => format!("unknown key `{other}`; did you mean `{meant}`?"),
                None => format!("unknown key `{other}`"),
            }),
        }
    }

    fn flag(&mut self, flag: &str) -> Result<(), String> {
        match flag {
            "cdrom" => self.cdrom = true,
            "discard" => self.no_discard = false,
            "no-discard" => self.no_discard = true,
            // Writes never pass through a cache of dom0's.
            "direct-io-safe" => {}
            key => return Err(format!("`{key}` wants a value; write {key}=…")),
        }
        Ok(())
    }

    fn positional(&mut self, part: &str) -> Result<(), String> {
        if self.target.is_none() {
            self.target(part)
        } else if !self.format {
            self.format(part)
        } else if self.vdev.is_none() {
            self.vdev(part)
        } else if self.read_only.is_none() {
            self.access(part)
        } else {
            Err(format!(
                "`{part}` is one part too many; they are target, format, vdev, access"
            ))
        }
    }

    fn target(&mut self, text: &str) -> Result<(), String> {
        if self.target.is_some() {
            return Err("`target` is given twice".into());
        }
        let prefix = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
        self.format |= prefix.is_some();
        let foreign = FOREIGN_FORMATS.iter().find(|format| {
            text.strip_prefix(**format)
                .is_some_and(|rest| rest.starts_with(':'))
        });
        match foreign {
            Some(format) => Err(unsupported(format)),
            None => {
                self.target = Some(prefix.unwrap_or(text).trim().into());
                Ok(())
            }
        }
    }

    fn format(&mut self, text: &str) -> Result<(), String> {
        self.format = true;
        match text {
            "" | "raw" => Ok(()),
            text if FOREIGN_FORMATS.contains(&text) => Err(unsupported(text)),
            text if Vdev::parse(text).is_ok() => Err(format!(
                "`{text}` stands in the place of the format; write TARGET,raw,{text},w"
            )),
            text => Err(format!("format `{text}` is unknown; write raw")),
        }
    }

    fn vdev(&mut self, text: &str) -> Result<(), String> {
        if self.vdev.is_some() {
            return Err("`vdev` is given twice".into());
        }
        let name = match text.strip_suffix(":cdrom") {
            Some(name) => {
                self.cdrom = true;
                name
            }
            None => text,
        };
        self.vdev = Some(Vdev::parse(name)?);
        Ok(())
    }

    fn access(&mut self, text: &str) -> Result<(), String> {
        self.read_only = Some(match text {
            "r" | "ro" => true,
            "w" | "rw" => false,
            _ => return Err(format!("access `{text}` is unknown; write r or w")),
        });
        Ok(())
    }

    fn ignore(&mut self, key: &str, reason: &str) -> Result<(), String> {
        self.warnings.push(format!("`{key}` is ignored: {reason}"));
        Ok(())
    }

    fn finish(self) -> Result<(DiskSpec, Vec<String>), String> {
        let target = self.target.filter(|target| !target.is_empty());
        let spec = DiskSpec {
            target: target.ok_or("the target is missing; write TARGET,raw,xvda,w")?,
            vdev: self
                .vdev
                .ok_or("the virtual disk is missing; add vdev=xvda")?,
            read_only: self.read_only.unwrap_or(self.cdrom),
            cdrom: self.cdrom,
            discard: !self.no_discard,
        };
        if spec.cdrom && !spec.read_only {
            return Err("a CD-ROM can't be written; use access=r, or leave `cdrom` out".into());
        }
        Ok((spec, self.warnings))
    }
}

fn unsupported(format: &str) -> String {
    format!("format `{format}` is not supported; convert the image to raw")
}

#[cfg(test)]
mod tests {
    use super::DiskSpec;

    fn good(text: &str) -> (String, String, bool, bool, bool) {
        let (spec, _) = DiskSpec::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (
            spec.target,
            spec.vdev.name().into(),
            spec.read_only,
            spec.cdrom,
            spec.discard,
        )
    }

    fn writable(target: &str) -> (String, String, bool, bool, bool) {
        (target.into(), "xvda".into(), false, false, true)
    }

    #[test]
    fn every_way_of_writing_a_disk_is_understood() {
        for text in [
            "/dev/vda,raw,xvda,w",
            "/dev/vda,,xvda",
            "/dev/vda, raw, xvda, rw",
            "phy:/dev/vda,xvda,w",
            "phy:/dev/vda,xvda",
            "file:/dev/vda,xvda,w",
            "format=raw,vdev=xvda,access=rw,target=/dev/vda",
            "vdev=xvda,target=phy:/dev/vda",
            "/dev/vda,vdev=xvda",
            "/dev/vda,raw,xvda,w,discard,direct-io-safe",
            "/dev/vda,raw,vdev=xvda,backendtype=phy,script=block",
        ] {
            assert_eq!(good(text), writable("/dev/vda"), "{text}");
        }
        assert_eq!(good("/x=1/y,raw,xvda").0, "/x=1/y");
        assert_eq!(good("vdev=xvda,target=/a,b=c").0, "/a,b=c");
        let read_only = |text| (good(text).2, good(text).3);
        assert_eq!(read_only("/x,raw,xvda,r"), (true, false));
        assert_eq!(read_only("/x,raw,hdc,cdrom"), (true, true));
        assert_eq!(read_only("/x,raw,hdc:cdrom,r"), (true, true));
        assert_eq!(read_only("/x,raw,xvdb,ro,devtype=cdrom"), (true, true));
        assert!(!good("/x,raw,xvda,no-discard").4);
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let (_, warnings) =
            DiskSpec::parse("/x,raw,xvda,script=block-foo,backendtype=qdisk").unwrap();
        assert_eq!(
            warnings,
            [
                "`script` is ignored: dom0 opens disks itself",
                "`backendtype` is ignored: there is one kind of backend"
            ]
        );
    }

    #[test]
    fn mistakes_name_the_remedy() {
        for (text, words) in [
            ("", "the target is missing"),
            ("/x", "the virtual disk is missing; add vdev=xvda"),
            (
                "/x,xvda,w",
                "`xvda` stands in the place of the format; write TARGET,raw,xvda,w",
            ),
            ("/x,qcow2,xvda", "format `qcow2` is not supported"),
            ("qcow2:/x,xvda", "format `qcow2` is not supported"),
            ("/x,rww,xvda", "format `rww` is unknown; write raw"),
            ("/x,raw,vda", "`vda` is no virtual disk; write xvda"),
            ("/x,raw,xvda,x", "access `x` is unknown; write r or w"),
            ("/x,raw,xvda,w,more", "`more` is one part too many"),
            (
                "/x,raw,xvda,acess=r",
                "unknown key `acess`; did you mean `access`?",
            ),
            ("/x,raw,xvda,discard=1", "`discard` takes no value"),
            ("/x,raw,vdev", "`vdev` wants a value"),
            (
                "/x,raw,xvda,backend=store",
                "there is no backend in `store`",
            ),
            ("/x,raw,xvda,devtype=floppy", "devtype `floppy` is unknown"),
            ("/x,raw,xvda,w,cdrom", "a CD-ROM can't be written"),
            ("/x,raw,xvda,target=/y", "`target` is given twice"),
        ] {
            let error = DiskSpec::parse(text).unwrap_err();
            assert!(error.starts_with(words), "{text}: {error}");
        }
    }
}
