//! Who uses what: one writer, or many readers, of everything that could be opened twice.
//!
//! Disks and partitions are claimed as ranges of a physical disk, so that a partition and the
//! disk it lies on are known to be the same sectors.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::Range;

/// What can be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// Sectors of a physical disk.
    Sectors {
        /// The disk's name.
        disk: String,
        /// Which of its sectors.
        range: Range<u64>,
    },
    /// A volume of a pool.
    Volume {
        /// The pool's name.
        pool: String,
        /// The volume's name.
        name: String,
    },
    /// A file of dom0's own file system.
    File(String),
}

impl Resource {
    /// Whether a byte belongs to both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Sectors { disk, range },
                Self::Sectors {
                    disk: other_disk,
                    range: other,
                },
            ) => disk == other_disk && range.start < other.end && other.start < range.end,
            _ => self == other,
        }
    }
}

#[derive(Debug)]
struct Entry {
    number: u64,
    resource: Resource,
    writes: bool,
    holder: String,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    next: u64,
}

/// All claims of a host.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Rc<RefCell<Table>>);

impl Claims {
    /// Claims something for `holder`.
    ///
    /// # Errors
    ///
    /// Who has it.
    pub(super) fn take(
        &self,
        resource: Resource,
        writes: bool,
        holder: &str,
    ) -> Result<Claim, String> {
        let mut table = self.0.borrow_mut();
        let other = table
            .entries
            .iter()
            .find(|entry| (entry.writes || writes) && entry.resource.overlaps(&resource));
        if let Some(other) = other {
            return Err(other.holder.clone());
        }
        let number = table.next;
        table.next += 1;
        table.entries.push(Entry {
            number,
            resource,
            writes,
            holder: holder.to_string(),
        });
        Ok(Claim {
            table: self.0.clone(),
            number,
        })
    }

    /// Whether somebody has claimed any of it.
    pub(super) fn is_taken(&self, resource: &Resource) -> bool {
        let table = self.0.borrow();
        let mut entries = table.entries.iter();
        entries.any(|entry| entry.resource.overlaps(resource))
    }
}

/// A claim; given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    table: Rc<RefCell<Table>>,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.table.borrow_mut();
        table.entries.retain(|entry| entry.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(disk: &str, range: Range<u64>) -> Resource {
        Resource::Sectors {
            disk: disk.into(),
            range,
        }
    }

    #[test]
    fn a_partition_and_its_disk_are_the_same_sectors() {
        let claims = Claims::default();
        let partition = claims.take(sectors("vda", 10..20), true, "a").unwrap();
        let whole = claims.take(sectors("vda", 0..100), false, "b");
        assert_eq!(whole.unwrap_err(), "a");
        assert!(claims.take(sectors("vda", 20..30), true, "b").is_ok());
        assert!(claims.take(sectors("vdb", 10..20), true, "b").is_ok());
        drop(partition);
        assert!(claims.take(sectors("vda", 0..100), true, "b").is_ok());
    }

    #[test]
    fn many_may_read_what_nobody_writes() {
        let claims = Claims::default();
        let file = Resource::File("/base.img".into());
        let first = claims.take(file.clone(), false, "a").unwrap();
        let _second = claims.take(file.clone(), false, "b").unwrap();
        assert_eq!(claims.take(file.clone(), true, "c").unwrap_err(), "a");
        drop(first);
        assert_eq!(claims.take(file, true, "c").unwrap_err(), "b");
    }
}
