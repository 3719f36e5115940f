//! The host's disks, as users name them and as QEMU wants them.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// A raw file that the host has as a virtio disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    file: PathBuf,
    read_only: bool,
    /// Sectors of 4096 bytes instead of 512.
    large_sectors: bool,
    /// Interrupts by line instead of by message.
    line_interrupt: bool,
    fault: Option<Fault>,
}

/// What a disk fails to do, for the tests of how errors travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Whatever touches this sector.
    Sector(u64),
    Flush,
}

impl Disk {
    /// Reads `FILE[,ro][,4k][,intx][,fault=SECTOR|flush]`; a relative path counts from the current
    /// directory.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn parse(text: &str) -> Result<Self> {
        let mut disk = Self {
            file: PathBuf::new(),
            read_only: false,
            large_sectors: false,
            line_interrupt: false,
            fault: None,
        };
        let mut rest = text;
        while let Some((before, word)) = rest.rsplit_once(',') {
            match word {
                "ro" => disk.read_only = true,
                "4k" => disk.large_sectors = true,
                "intx" => disk.line_interrupt = true,
                _ => match Fault::parse(word) {
                    Some(fault) => disk.fault = Some(fault),
                    None => break,
                },
            }
            rest = before;
        }
        let found = std::fs::canonicalize(rest);
        disk.file = found.with_context(|| {
            format!("--disk {rest}: no such file; `truncate -s 1G {rest}` makes an empty disk")
        })?;
        ensure!(
            !disk.file.is_dir(),
            "--disk {rest}: a directory, not a disk image"
        );
        Ok(disk)
    }

    /// QEMU's arguments for the host's disk number `index`.
    pub(super) fn arguments(&self, index: usize) -> [String; 4] {
        let file = self.file.display().to_string().replace(',', ",,");
        // Writeback: what was flushed lies in this machine's page cache at least, which outlives
        // a killed QEMU.
        let file = self.fault.map_or(format!("file={file}"), |fault| {
            format!(
                "{},file.image.driver=file,file.image.filename={file}",
                fault.words()
            )
        });
        let mut drive =
            format!("{file},if=none,id=disk{index},format=raw,cache=writeback,discard=unmap");
        let mut device = format!(
            "virtio-blk-pci,drive=disk{index},serial=disk{index},disable-legacy=on,num-queues=1,queue-size=256"
        );
        if self.read_only {
            drive += ",readonly=on";
        }
        if self.large_sectors {
            device += ",logical_block_size=4096,physical_block_size=4096";
        }
        if self.line_interrupt {
            device += ",vectors=0";
        }
        ["-drive".into(), drive, "-device".into(), device]
    }
}

impl Fault {
    fn parse(word: &str) -> Option<Self> {
        match word.strip_prefix("fault=")? {
            "flush" => Some(Self::Flush),
            sector => sector.parse().ok().map(Self::Sector),
        }
    }

    /// QEMU's words for a layer over the image that answers with EIO.
    fn words(self) -> String {
        let layer =
            "file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.errno=5";
        match self {
            Self::Sector(sector) => format!("{layer},file.inject-error.0.sector={sector}"),
            Self::Flush => format!("{layer},file.inject-error.0.iotype=flush"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sector(sector) => write!(f, "fault={sector}"),
            Self::Flush => f.write_str("fault=flush"),
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        let words = [
            (self.read_only, ",ro"),
            (self.large_sectors, ",4k"),
            (self.line_interrupt, ",intx"),
        ];
        words
            .into_iter()
            .filter(|(set, _)| *set)
            .try_for_each(|(_, word)| f.write_str(word))?;
        self.fault.map_or(Ok(()), |fault| write!(f, ",{fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disks_words_come_after_its_path_and_survive_a_round() {
        let file = std::env::temp_dir().join(format!("radon-disk,{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let text = format!("{},ro,4k", file.canonicalize().unwrap().display());
        let disk = Disk::parse(&text).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(disk.to_string(), text);
        let [_, drive, _, device] = disk.arguments(3);
        assert!(drive.contains("radon-disk,,") && drive.ends_with("readonly=on"));
        assert!(device.contains("drive=disk3") && device.contains("logical_block_size=4096"));
    }

    #[test]
    fn a_faulty_disk_is_one_behind_a_layer_that_fails() {
        let file = std::env::temp_dir().join(format!("radon-faulty-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        for (word, said) in [
            ("77", "error.0.sector=77,"),
            ("flush", "error.0.iotype=flush,"),
        ] {
            let text = format!("{},ro,fault={word}", file.canonicalize().unwrap().display());
            let disk = Disk::parse(&text).unwrap();
            assert_eq!(disk.to_string(), text);
            assert!(disk.arguments(0)[1].contains(said));
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_missing_disk_is_named_with_a_remedy() {
        let error = Disk::parse("/nowhere/disk.img,ro").unwrap_err().to_string();
        assert!(error.contains("/nowhere/disk.img: no such file") && error.contains("truncate"));
    }
}
