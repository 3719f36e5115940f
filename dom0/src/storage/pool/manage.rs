//! Making, growing, copying and removing volumes: each one record of the journal, all or nothing.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Pool;
use super::format::{BaseName, Description, Op};
use super::layer::{Base, Layer};
use super::layout::{BLOCK_SECTORS, CHUNK_SECTORS, DESCRIPTION_BYTES};
use super::recover::base;
use super::volume::Volume;

/// Longest name of a pool or a volume.
const MAX_NAME: usize = 63;
/// Longest name of a base.
const MAX_SPEC: usize = 255;

const _: () = assert!((MAX_NAME + MAX_SPEC + 64) as u64 <= DESCRIPTION_BYTES);

/// A volume, for whoever lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Its size in sectors of 512 bytes.
    pub sectors: u64,
    /// Bytes of the pool that are its own.
    pub allocated: u64,
    /// What lies under it.
    pub base: Option<String>,
    /// A snapshot: nobody writes it.
    pub frozen: bool,
}

/// A pool, for whoever lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// Its name.
    pub name: String,
    /// Bytes for data.
    pub size: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Its volumes, by name.
    pub volumes: Vec<VolumeInfo>,
}

/// Whether a pool or a volume may have this name; what is wrong with it otherwise.
pub(in crate::storage) fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(format!(
        "'{name}' is no name; use up to {MAX_NAME} letters, digits, '-', '_', '.' or '+'"
    ))
}

impl Pool {
    /// Makes a volume of so many sectors over a base.
    pub(in crate::storage) async fn create(
        &self,
        name: &str,
        sectors: u64,
        under: BaseName,
    ) -> Result<(), String> {
        check_name(name)?;
        let sectors = checked_size(sectors)?;
        if let BaseName::Outside { spec, .. } = &under
            && spec.len() > MAX_SPEC
        {
            return Err(format!("its base has a name of over {MAX_SPEC} bytes"));
        }
        let _lock = self.lock.take().await;
        let layer = self.new_number(name)?;
        if let BaseName::Layer(below) = under
            && !self.layers.borrow().contains_key(&below)
        {
            return Err("its base was removed meanwhile".to_string());
        }
        let description = Description {
            layer,
            name: name.to_string(),
            sectors,
            frozen: false,
            base: under,
        };
        self.write_description(&description).await?;
        let base = base(&description.base, &self.layers.borrow());
        self.add(Layer::new(&description, base, Default::default()));
        Ok(())
    }

    /// Keeps a volume as it is now under a new name. The volume goes on as an overlay over that.
    pub(in crate::storage) async fn snapshot(&self, name: &str, new: &str) -> Result<(), String> {
        check_name(new)?;
        let volume = self.volume(name).ok_or("it was removed meanwhile")?;
        let closed = volume.close().await;
        let _lock = self.lock.take().await;
        // Whoever flushes the volume from now on will not look at the old layer any more.
        self.commit_locked().await.map_err(device)?;
        let layer = self.new_number(new)?;
        let old = volume.layer();
        let over = Description {
            layer,
            base: BaseName::Layer(old.number),
            ..old.describe()
        };
        let frozen = Description {
            name: new.to_string(),
            frozen: true,
            ..old.describe()
        };
        let ops = [Op::Layer(over.clone()), Op::Layer(frozen)];
        self.write_ops(&ops).await.map_err(device)?;
        old.frozen.set(true);
        *old.name.borrow_mut() = new.to_string();
        let over = Layer::new(&over, Base::Layer(old.clone()), Default::default());
        volume.replace_layer(over.clone());
        self.layers.borrow_mut().insert(layer, over);
        let snapshot = Volume::new(old);
        self.volumes.borrow_mut().insert(new.to_string(), snapshot);
        drop(closed);
        Ok(())
    }

    /// Removes a volume that nobody has open.
    pub(in crate::storage) async fn remove(&self, name: &str) -> Result<(), String> {
        let volume = self.volume(name).ok_or("it was removed meanwhile")?;
        let closed = volume.close().await;
        let _lock = self.lock.take().await;
        let layer = volume.layer();
        if let Some(over) = self.over(&layer).first() {
            return Err(format!("it is the base of {over}; remove that first"));
        }
        let op = Op::Remove(layer.number);
        self.write_ops(&[op]).await.map_err(device)?;
        closed.gone();
        self.volumes.borrow_mut().remove(name);
        self.layers.borrow_mut().remove(&layer.number);
        self.changes.borrow_mut().forget(layer.number);
        let chunks = layer
            .map
            .borrow()
            .iter()
            .map(|(_, entry)| entry.chunk)
            .collect();
        self.space.borrow_mut().release(chunks);
        Ok(())
    }

    /// Makes a volume larger that nobody has open.
    pub(in crate::storage) async fn resize(&self, name: &str, sectors: u64) -> Result<(), String> {
        let sectors = checked_size(sectors)?;
        let volume = self.volume(name).ok_or("it was removed meanwhile")?;
        let _closed = volume.close().await;
        let _lock = self.lock.take().await;
        let layer = volume.layer();
        if sectors < layer.sectors.get() {
            return Err("a volume only grows; make a new one and copy".to_string());
        }
        let description = Description {
            sectors,
            ..layer.describe()
        };
        self.write_description(&description).await?;
        layer.sectors.set(sectors);
        Ok(())
    }

    /// What there is.
    pub(in crate::storage) fn info(&self) -> PoolInfo {
        let volumes = self.volumes.borrow();
        let space = self.space.borrow();
        let chunk = CHUNK_SECTORS * 512;
        PoolInfo {
            name: self.name.clone(),
            size: u64::from(self.layout.chunks - self.layout.first_data()) * chunk,
            free: u64::from(space.free()) * chunk,
            volumes: volumes
                .iter()
                .map(|(name, volume)| self.volume_info(name, &volume.layer()))
                .collect(),
        }
    }

    fn volume_info(&self, name: &str, layer: &Layer) -> VolumeInfo {
        VolumeInfo {
            pool: self.name.clone(),
            name: name.to_string(),
            sectors: layer.sectors.get(),
            allocated: layer.map.borrow().iter().count() as u64 * CHUNK_SECTORS * 512,
            base: match &layer.base {
                Base::Nothing => None,
                Base::Layer(below) => Some(format!("{}/{}", self.name, below.name.borrow())),
                Base::Outside { spec, .. } => Some(spec.clone()),
            },
            frozen: layer.frozen.get(),
        }
    }

    /// The names of the volumes right over a layer.
    fn over(&self, layer: &Rc<Layer>) -> Vec<String> {
        let layers = self.layers.borrow();
        let over = layers.values().filter(|other| match &other.base {
            Base::Layer(below) => Rc::ptr_eq(below, layer),
            _ => false,
        });
        over.map(|other| other.name.borrow().clone()).collect()
    }

    /// The number for the layer of a new volume.
    fn new_number(&self, name: &str) -> Result<u32, String> {
        if self.volumes.borrow().contains_key(name) {
            return Err(format!(
                "there is a volume {name} already; choose another name, or `vol remove` it first"
            ));
        }
        let layers = self.layers.borrow();
        if layers.len() >= usize::try_from(self.layout.volumes).unwrap_or(usize::MAX) {
            return Err("the pool has as many volumes as it can; remove one".to_string());
        }
        let next = layers
            .last_key_value()
            .map_or(Some(0), |(last, _)| last.checked_add(1));
        next.ok_or_else(|| "the pool has used up its numbers".to_string())
    }

    async fn write_description(&self, description: &Description) -> Result<(), String> {
        let op = Op::Layer(description.clone());
        self.write_ops(&[op]).await.map_err(device)
    }

    fn add(&self, layer: Rc<Layer>) {
        let name = layer.name.borrow().clone();
        self.layers.borrow_mut().insert(layer.number, layer.clone());
        self.volumes.borrow_mut().insert(name, Volume::new(layer));
    }
}

/// A size that a volume can have: whole blocks, and no more chunks than there are numbers.
fn checked_size(sectors: u64) -> Result<u64, String> {
    let whole = sectors.checked_next_multiple_of(BLOCK_SECTORS);
    let fits = |&sectors: &u64| sectors > 0 && sectors / CHUNK_SECTORS < u32::MAX.into();
    whole
        .filter(fits)
        .ok_or_else(|| "a volume has between 4 KiB and 256 TiB".to_string())
}

fn device(error: backends::host::DiskError) -> String {
    error.to_string()
}
