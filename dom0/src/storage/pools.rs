//! The pools of a host: finding them, opening their volumes, and everything `vol` does.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use backends::host::SECTOR_SIZE;

use super::block::Bytes;
use super::claims::Resource;
use super::pool::{Base, BaseName, Layer, LoadError, Pool, PoolInfo, Volume, check_name};
use super::slice::Slice;
use super::spec::Spec;
use super::{Mode, OpenDisk, Place, Storage, StorageError, error};

/// A volume somebody asked for.
struct Wanted<'a> {
    spec: &'a str,
    pool: Rc<Pool>,
    name: String,
    volume: Rc<Volume>,
}

impl Storage {
    /// Finds the pools on the disks. What is wrong with one is logged.
    pub async fn start(&self) {
        self.scan().await;
    }

    /// All pools, by name.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolInfo> {
        let pools = self.pools.borrow();
        let mut all: Vec<PoolInfo> = pools.iter().map(|pool| pool.info()).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Makes an empty pool on a disk or partition. What seems to hold something is spared,
    /// unless `force` says that it does not matter.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn create_pool(
        &self,
        name: &str,
        spec: &str,
        force: bool,
    ) -> Result<(), StorageError> {
        let refused = |reason| StorageError::refused(name, reason);
        check_name(name).map_err(refused)?;
        if name == "disk" || self.disks.find(name).is_some() || self.loaded(name).is_some() {
            let reason = "the name is taken; choose another".to_string();
            return Err(refused(reason));
        }
        let place = self.place(spec, &parse(spec)?).await?;
        let disk = self.open_place(spec, place.clone(), Mode::ReadWrite, "`vol init`")?;
        if !force {
            self.check_empty(spec, &disk).await?;
        }
        let init = Pool::init(name, (*disk).clone(), self.host.clone());
        init.await
            .map_err(|reason| StorageError::refused(spec, reason))?;
        drop(disk);
        self.load(place)
            .await
            .map_err(|reason| StorageError::refused(spec, reason))
    }

    /// Makes a volume. Without a size it is as large as its base.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn create_volume(
        &self,
        spec: &str,
        bytes: Option<u64>,
        base: Option<&str>,
    ) -> Result<(), StorageError> {
        let refused = |reason: String| StorageError::refused(spec, reason);
        let (pool, name) = self.pool_of(spec).await?;
        let (base, least) = match base {
            None => (BaseName::Nothing, 0),
            Some(base) => self.base(&pool, base).await?,
        };
        let sectors = match bytes {
            Some(bytes) => bytes.div_ceil(SECTOR_SIZE as u64),
            None if least > 0 => least,
            None => return Err(refused("give a size, such as 10G".to_string())),
        };
        if sectors < least {
            let mib = least.div_ceil(2048);
            return Err(refused(format!(
                "its base is larger; give a size of at least {mib}M, or none"
            )));
        }
        pool.create(&name, sectors, base).await.map_err(refused)?;
        // The base is the volume's from now on: nobody may write it.
        let wanted = self.wanted(spec).await?;
        self.open_base(spec, &wanted.name, &wanted.volume.layer())
            .await
    }

    /// Removes a volume.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn remove_volume(&self, spec: &str) -> Result<(), StorageError> {
        let wanted = self.wanted(spec).await?;
        let _claim = self.claim_volume(&wanted, Mode::ReadWrite, "`vol remove`")?;
        let removed = wanted.pool.remove(&wanted.name).await;
        removed.map_err(|reason| StorageError::refused(spec, reason))
    }

    /// Makes a volume larger.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn resize_volume(&self, spec: &str, bytes: u64) -> Result<(), StorageError> {
        let wanted = self.wanted(spec).await?;
        let _claim = self.claim_volume(&wanted, Mode::ReadWrite, "`vol resize`")?;
        let sectors = bytes.div_ceil(SECTOR_SIZE as u64);
        let resized = wanted.pool.resize(&wanted.name, sectors).await;
        resized.map_err(|reason| StorageError::refused(spec, reason))
    }

    /// Keeps a volume as it is at this moment, in use or not, under a new name in its pool.
    ///
    /// # Errors
    ///
    /// In words for the user.
    pub async fn snapshot_volume(&self, spec: &str, new: &str) -> Result<(), StorageError> {
        let wanted = self.wanted(spec).await?;
        let snapshot = wanted.pool.snapshot(&wanted.name, new).await;
        snapshot.map_err(|reason| StorageError::refused(spec, reason))
    }

    /// Opens a volume as a disk.
    pub(super) async fn open_volume(
        &self,
        spec: &str,
        mode: Mode,
        holder: &str,
    ) -> Result<OpenDisk, StorageError> {
        let wanted = self.wanted(spec).await?;
        let layer = wanted.volume.layer();
        let writes = mode == Mode::ReadWrite;
        if writes && layer.frozen.get() {
            return Err(StorageError::ReadOnly {
                spec: spec.to_string(),
                reason: format!(
                    "it is a snapshot; write to an overlay: `vol create {}/NAME --base {spec}`",
                    wanted.pool.name()
                ),
            });
        }
        let claim = self.claim_volume(&wanted, mode, holder)?;
        self.open_base(spec, &wanted.name, &layer).await?;
        let disk = wanted.pool.open_volume(wanted.volume, !writes, claim);
        Ok(OpenDisk(Rc::new(disk)))
    }

    fn claim_volume(
        &self,
        wanted: &Wanted<'_>,
        mode: Mode,
        holder: &str,
    ) -> Result<super::claims::Claim, StorageError> {
        let resource = Resource::Volume {
            pool: wanted.pool.name().to_string(),
            name: wanted.name.clone(),
        };
        self.claim(wanted.spec, resource, mode, holder)
    }

    /// Opens the image under a volume, unless it is open.
    async fn open_base(
        &self,
        spec: &str,
        name: &str,
        layer: &Rc<Layer>,
    ) -> Result<(), StorageError> {
        let lowest = layer.lowest();
        let Base::Outside {
            spec: base,
            sectors,
            disk,
        } = &lowest.base
        else {
            return Ok(());
        };
        if disk.borrow().is_some() {
            return Ok(());
        }
        let holder = format!("volume {name}, whose base it is");
        let open = self.open_boxed(base, Mode::ReadOnly, &holder).await?;
        let now = open.geometry().sectors;
        if now != *sectors {
            let reason = format!(
                "its base {base} has {now} sectors, and had {sectors}; bring the old one back"
            );
            return Err(StorageError::refused(spec, reason));
        }
        *disk.borrow_mut() = Some((*open).clone());
        Ok(())
    }

    fn open_boxed<'a>(
        &'a self,
        spec: &'a str,
        mode: Mode,
        holder: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<OpenDisk, StorageError>> + 'a>> {
        Box::pin(self.open(spec, mode, holder))
    }

    /// What a volume of a pool has as its base when a user says this, and how large that is.
    async fn base(&self, pool: &Rc<Pool>, spec: &str) -> Result<(BaseName, u64), StorageError> {
        if let Spec::Volume { pool: other, .. } = parse(spec)?
            && other == pool.name()
        {
            let wanted = self.wanted(spec).await?;
            let layer = wanted.volume.layer();
            if !layer.frozen.get() {
                let reason = format!(
                    "a base must not change: `vol snapshot {spec} NEW`, and use {}/NEW",
                    pool.name()
                );
                return Err(StorageError::refused(spec, reason));
            }
            return Ok((BaseName::Layer(layer.number), layer.sectors.get()));
        }
        let base = self
            .open_boxed(spec, Mode::ReadOnly, "`vol create`")
            .await?;
        let geometry = base.geometry();
        if geometry.sector_size > pool.sector_size() {
            let reason = "its sectors are larger than the pool's; use another pool";
            return Err(StorageError::refused(spec, reason));
        }
        let outside = BaseName::Outside {
            spec: spec.to_string(),
            sectors: geometry.sectors,
        };
        Ok((outside, geometry.sectors))
    }

    /// The volume that a user means.
    async fn wanted<'a>(&self, spec: &'a str) -> Result<Wanted<'a>, StorageError> {
        let (pool, name) = self.pool_of(spec).await?;
        let Some(volume) = pool.volume(&name) else {
            let names = error::names(&pool.info().volumes, |volume| volume.name.clone());
            let none = "the pool is empty: `vol create` makes one";
            return Err(StorageError::missing(spec, "volume", &names, none));
        };
        Ok(Wanted {
            spec,
            pool,
            name,
            volume,
        })
    }

    /// The pool that a user means, and the name behind it.
    async fn pool_of(&self, spec: &str) -> Result<(Rc<Pool>, String), StorageError> {
        let Spec::Volume { pool, name } = parse(spec)? else {
            return Err(StorageError::refused(spec, "write POOL/VOLUME"));
        };
        if self.loaded(&pool).is_none() {
            self.scan().await;
        }
        if let Some(pool) = self.loaded(&pool) {
            return Ok((pool, name));
        }
        let names = error::names(&self.pools(), |pool| pool.name.clone());
        let none = "this host has no pool: `vol init POOL DEVICE` makes one";
        Err(StorageError::missing(&pool, "pool", &names, none))
    }

    fn loaded(&self, name: &str) -> Option<Rc<Pool>> {
        let pools = self.pools.borrow();
        let mut pools = pools.iter();
        pools.find(|pool| pool.name() == name).cloned()
    }

    /// Opens all pools that are not open yet.
    async fn scan(&self) {
        let _lock = self.scanning.take().await;
        for (name, disk) in self.disks.all() {
            let partitions = self.partitions(&name, &disk).await.unwrap_or_default();
            let whole = Place::whole(name, disk);
            let parts = partitions.iter().map(|part| whole.part(part.range.clone()));
            for place in core::iter::once(whole.clone()).chain(parts) {
                self.look(place).await;
            }
        }
    }

    /// Opens the pool at a place, if there is one and nobody uses the place.
    async fn look(&self, place: Place) {
        let resource = place.resource();
        // A guest can write what looks like a pool to a disk of its own.
        if self.claims.is_taken(&resource) {
            return;
        }
        let slice = Slice::new(place.disk.clone(), place.range.clone(), true, Vec::new());
        let bytes = Bytes::new(Rc::new(slice), self.host.clone());
        let Ok(name) = Pool::probe(&bytes).await else {
            return;
        };
        if let Err(reason) = self.load(place).await {
            log::error!("pool {name}: {reason}");
        }
    }

    /// Opens the pool at a place.
    async fn load(&self, place: Place) -> Result<(), String> {
        let spec = place.name.clone();
        let disk = self
            .open_place(&spec, place, Mode::ReadWrite, "its pool")
            .map_err(|error| error.to_string())?;
        let pool = Pool::open(&self.runtime, (*disk).clone(), self.host.clone())
            .await
            .map_err(|error| error.to_string())?;
        if check_name(pool.name()).is_err() || self.loaded(pool.name()).is_some() {
            return Err("there is another pool of that name; take one of the disks away".into());
        }
        self.pools.borrow_mut().push(pool.clone());
        for (name, volume) in pool.all_volumes() {
            if let Err(error) = self.open_base(&name, &name, &volume.layer()).await {
                log::warn!("volume {}/{name}: {error}", pool.name());
            }
        }
        Ok(())
    }

    /// Refuses a disk that seems to hold something.
    async fn check_empty(&self, spec: &str, disk: &OpenDisk) -> Result<(), StorageError> {
        let failed = StorageError::device(spec);
        let bytes = Bytes::new((**disk).clone(), self.host.clone());
        let found = if !self.partitions(spec, disk).await?.is_empty() {
            "partitions"
        } else {
            match Pool::probe(&bytes).await {
                Ok(_) => "a pool",
                Err(LoadError::Device(error)) => return Err(failed(error)),
                Err(_) if has_file_system(&bytes).await.map_err(failed)? => "a file system",
                Err(_) => return Ok(()),
            }
        };
        let reason = format!("it holds {found}; use another disk, or --force to lose it");
        Err(StorageError::refused(spec, reason))
    }
}

/// Whether a disk bears the mark of ext2 to ext4, or of FAT and other boot sectors.
async fn has_file_system(bytes: &Bytes) -> Result<bool, backends::host::DiskError> {
    if bytes.len() < 2048 {
        return Ok(false);
    }
    let start = bytes.read(0, 2048).await?;
    let at = |offset: usize| start.get(offset..offset + 2).unwrap_or_default();
    Ok(at(1080) == [0x53, 0xef] || at(510) == [0x55, 0xaa])
}

fn parse(spec: &str) -> Result<Spec, StorageError> {
    Spec::parse(spec).ok_or_else(|| StorageError::Malformed {
        spec: spec.to_string(),
    })
}
