//! Disks as users name them: physical ones, partitions, volumes of a pool, image files.
//!
//! ```text
//!   open("/dev/vda2", mode, "domain web")
//!     spec ──▶ resolve: disk and sectors ──▶ claim ──▶ slice ──▶ OpenDisk
//! ```
//!
//! The rule kept: nothing is written by two at once, and nothing that somebody reads is written.
//! A claim lives inside the disk that [`Storage::open`] hands out and ends with its last user.

mod block;
mod claims;
mod error;
mod files;
mod lock;
mod partition;
mod pool;
mod pools;
mod slice;
mod spec;
#[cfg(test)]
mod tests;

pub use error::StorageError;
pub use files::FileInfo;
pub use pool::{PoolInfo, VolumeInfo};
pub use spec::OWN_FILES;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ops::{Deref, Range};

use backends::host::{Disk, Host};

use crate::executor::Runtime;
use block::Bytes;
use claims::{Claim, Claims, Resource};
use lock::Lock;
use partition::Partition;
use pool::Pool;
use slice::Slice;
use spec::{Spec, partition_of};

/// The physical disks of a host.
pub trait Disks {
    /// All of them with their names, in the order of their names.
    fn all(&self) -> Vec<(String, Rc<dyn Disk>)>;

    /// One of them.
    fn find(&self, name: &str) -> Option<Rc<dyn Disk>> {
        let mut all = self.all().into_iter();
        all.find(|(known, _)| known == name).map(|(_, disk)| disk)
    }
}

/// What a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To be read; others may read it, too.
    ReadOnly,
    /// To be read and written, by nobody else.
    ReadWrite,
}

/// An open disk. What it claims is given back when the last clone of the disk is dropped.
#[derive(Clone)]
pub struct OpenDisk(Rc<dyn Disk>);

impl fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenDisk({:?})", self.0.geometry())
    }
}

impl Deref for OpenDisk {
    type Target = Rc<dyn Disk>;

    fn deref(&self) -> &Rc<dyn Disk> {
        &self.0
    }
}

/// Sectors of a physical disk.
#[derive(Clone)]
struct Place {
    name: String,
    disk: Rc<dyn Disk>,
    range: Range<u64>,
}

impl Place {
    /// All of a disk.
    fn whole(name: String, disk: Rc<dyn Disk>) -> Self {
        let range = 0..disk.geometry().sectors;
        Self { name, disk, range }
    }

    /// Some of its disk's sectors.
    fn part(&self, range: Range<u64>) -> Self {
        Self {
            range,
            ..self.clone()
        }
    }

    fn resource(&self) -> Resource {
        Resource::Sectors {
            disk: self.name.clone(),
            range: self.range.clone(),
        }
    }
}

/// The disks of a host.
pub struct Storage {
    runtime: Runtime,
    host: Rc<dyn Host>,
    disks: Rc<dyn Disks>,
    claims: Claims,
    pools: RefCell<Vec<Rc<Pool>>>,
    /// Whoever looks for pools has it.
    scanning: Lock,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// The storage of a host with these disks.
    #[must_use]
    pub fn new(runtime: &Runtime, host: Rc<dyn Host>, disks: Rc<dyn Disks>) -> Rc<Self> {
        Rc::new(Self {
            runtime: runtime.clone(),
            host,
            disks,
            claims: Claims::default(),
            pools: RefCell::default(),
            scanning: Lock::default(),
        })
    }

    /// Opens a disk. `holder` is whom a refusal names to the next who asks for it.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn open(
        &self,
        spec: &str,
        mode: Mode,
        holder: &str,
    ) -> Result<OpenDisk, StorageError> {
        let parsed = Spec::parse(spec).ok_or_else(|| StorageError::Malformed {
            spec: spec.to_string(),
        })?;
        match parsed {
            Spec::Device(_) | Spec::Label(_) => {
                let place = self.place(spec, &parsed).await?;
                self.open_place(spec, place, mode, holder)
            }
            Spec::Volume { .. } => self.open_volume(spec, mode, holder).await,
            Spec::File(path) => self.open_image(spec, &path, mode, holder).await,
        }
    }

    fn open_place(
        &self,
        spec: &str,
        place: Place,
        mode: Mode,
        holder: &str,
    ) -> Result<OpenDisk, StorageError> {
        let writes = mode == Mode::ReadWrite;
        if writes && place.disk.geometry().read_only {
            return Err(StorageError::ReadOnly {
                spec: spec.to_string(),
                reason: "the device is read-only".to_string(),
            });
        }
        let claim = self.claim(spec, place.resource(), mode, holder)?;
        let slice = Slice::new(place.disk, place.range, !writes, Vec::from([claim]));
        Ok(OpenDisk(Rc::new(slice)))
    }

    fn claim(
        &self,
        spec: &str,
        resource: Resource,
        mode: Mode,
        holder: &str,
    ) -> Result<Claim, StorageError> {
        let writes = mode == Mode::ReadWrite;
        let claim = self.claims.take(resource, writes, holder);
        claim.map_err(|holder| StorageError::InUse {
            spec: spec.to_string(),
            holder,
        })
    }

    /// Where a physical disk or a partition lies.
    async fn place(&self, spec: &str, parsed: &Spec) -> Result<Place, StorageError> {
        match parsed {
            Spec::Device(name) => match self.disks.find(name) {
                Some(disk) => Ok(Place::whole(name.clone(), disk)),
                None => self.numbered(spec, name).await,
            },
            Spec::Label(label) => self.labelled(spec, label).await,
            Spec::Volume { .. } | Spec::File(_) => Err(StorageError::refused(
                spec,
                "this must be a disk or a partition",
            )),
        }
    }

    /// A partition by number.
    async fn numbered(&self, spec: &str, name: &str) -> Result<Place, StorageError> {
        let known = partition_of(name)
            .and_then(|(disk, number)| Some((disk, self.disks.find(disk)?, number)));
        let Some((disk_name, disk, number)) = known else {
            let names = error::names(&self.disks.all(), |(name, _)| name.clone());
            let none = "this host has no disks: start it with `--disk FILE`";
            return Err(StorageError::missing(spec, "disk", &names, none));
        };
        let partitions = self.partitions(spec, &disk).await?;
        match partitions.iter().find(|one| one.number == number) {
            Some(partition) => Ok(Place {
                name: disk_name.to_string(),
                disk,
                range: partition.range.clone(),
            }),
            None => {
                let names = error::names(&partitions, |one| format!("{disk_name}{}", one.number));
                let none = format!("{disk_name} has no partitions");
                Err(StorageError::missing(spec, "partition", &names, &none))
            }
        }
    }

    /// A partition by name: the first, in the order of the disks.
    async fn labelled(&self, spec: &str, label: &str) -> Result<Place, StorageError> {
        let mut names = Vec::new();
        for (name, disk) in self.disks.all() {
            for partition in self.partitions(spec, &disk).await? {
                if partition.name == label {
                    return Ok(Place {
                        name,
                        disk,
                        range: partition.range,
                    });
                }
                names.extend((!partition.name.is_empty()).then_some(partition.name));
            }
        }
        let none = "no partition has a name; use /dev/DISKNUMBER";
        Err(StorageError::missing(spec, "partition", &names, none))
    }

    async fn partitions(
        &self,
        spec: &str,
        disk: &Rc<dyn Disk>,
    ) -> Result<Vec<Partition>, StorageError> {
        partition::read(&Bytes::new(disk.clone(), self.host.clone()))
            .await
            .map_err(StorageError::device(spec))
    }
}
