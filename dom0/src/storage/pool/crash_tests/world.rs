//! A pool, its disk and its model, and what can happen to them.

use std::collections::BTreeMap;
use std::rc::Rc;

use backends::host::fake::{FakeDisk, FakeHost};
use backends::host::{Disk, DiskError, DiskRequest};
use futures_util::future::join_all;

use super::disk::{CrashDisk, Dice, Handle};
use super::model::Model;
use crate::executor::Runtime;
use crate::storage::block::{Bytes, memory, perform, pieces};
use crate::storage::claims::{Claims, Resource};
use crate::storage::pool::format::BaseName;
use crate::storage::pool::layer::Base;
use crate::storage::pool::layout::{CHUNK_SECTORS, Layout};
use crate::storage::pool::{OpenVolume, Pool};

/// A journal of sixteen records at most, and hardly more room than all volumes can need: what is
/// given up is soon used again.
const LAYOUT: Layout = Layout {
    chunks: 4 + 22,
    journal: 1,
    checkpoint: 1,
    volumes: 64,
};
/// Sectors of the image under some volumes, which is shorter than they are.
const BASE: u64 = 2 * CHUNK_SECTORS + 12;
/// Sectors of a volume.
pub(super) const VOLUME: u64 = 3 * CHUNK_SECTORS + 8;

/// What shows of the image.
fn base_value(sector: u64) -> u32 {
    if sector < BASE {
        1_000_000 + sector as u32
    } else {
        0
    }
}

fn base_image() -> Rc<dyn Disk> {
    let image = FakeDisk::new(BASE);
    image.with_bytes(|bytes| {
        for (sector, bytes) in bytes.chunks_mut(512).enumerate() {
            stamp(bytes, base_value(sector as u64));
        }
    });
    Rc::new(image)
}

fn stamp(bytes: &mut [u8], value: u32) {
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[508..].copy_from_slice(&value.to_le_bytes());
}

/// Whether a volume is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum There {
    Yes,
    Perhaps,
}

/// A pool under test.
pub(super) struct World {
    runtime: Runtime,
    host: Rc<FakeHost>,
    pub(super) disk: Rc<CrashDisk>,
    pub(super) pool: Rc<Pool>,
    image: Rc<dyn Disk>,
    claims: Claims,
    dice: Dice,
    pub(super) models: BTreeMap<String, (There, Model)>,
    next_value: u32,
    next_name: u32,
}

pub(super) type Outcome = Result<(), DiskError>;

impl World {
    pub(super) async fn new(runtime: Runtime, seed: u64) -> Self {
        let host = FakeHost::new();
        let disk = CrashDisk::new(u64::from(LAYOUT.chunks) * CHUNK_SECTORS, seed);
        let bytes = Bytes::new(Rc::new(Handle(disk.clone())), host.clone());
        Pool::format("p", LAYOUT, &bytes, 1).await.unwrap();
        let pool = Self::open_pool(&runtime, &host, &disk).await;
        Self {
            runtime,
            host,
            disk,
            pool,
            image: base_image(),
            claims: Claims::default(),
            dice: Dice::new(seed ^ 0xdead_beef),
            models: BTreeMap::new(),
            next_value: 1,
            next_name: 0,
        }
    }

    async fn open_pool(runtime: &Runtime, host: &Rc<FakeHost>, disk: &Rc<CrashDisk>) -> Rc<Pool> {
        let disk = Rc::new(Handle(disk.clone()));
        Pool::open(runtime, disk, host.clone()).await.unwrap()
    }

    pub(super) fn open(&self, name: &str) -> Rc<OpenVolume> {
        let resource = Resource::File(name.into());
        let claim = self.claims.take(resource, false, "test").unwrap();
        let volume = self.pool.volume(name).unwrap();
        if let Base::Outside { disk, .. } = &volume.layer().lowest().base {
            *disk.borrow_mut() = Some(self.image.clone());
        }
        let frozen = volume.layer().frozen.get();
        Rc::new(self.pool.open_volume(volume, frozen, claim))
    }

    /// The names of volumes that can be written.
    pub(super) fn writable(&self) -> Vec<String> {
        let frozen = |name: &String| self.pool.volume(name).unwrap().layer().frozen.get();
        let names = self.models.keys();
        names.filter(|name| !frozen(name)).cloned().collect()
    }

    /// A random step. An error means that the power has failed.
    pub(super) async fn step(&mut self) -> Outcome {
        let writable = self.writable();
        if writable.is_empty() {
            return self.create().await;
        }
        let name = writable[self.dice.roll(writable.len() as u64) as usize].clone();
        match self.dice.roll(24) {
            0 if self.models.len() < 5 => self.create().await,
            1 if self.models.len() < 5 => self.snapshot(&name).await,
            2 => self.remove().await,
            3 | 4 => self.discard(&name).await,
            5..=8 => self.flush(&name).await,
            9..=11 => self.read(&name).await,
            _ => self.write_together(&name).await,
        }
    }

    async fn create(&mut self) -> Outcome {
        let with_base = self.dice.roll(2) == 0;
        self.create_over(with_base).await
    }

    /// Makes a volume of zeros.
    pub(super) async fn create_plain(&mut self) {
        self.create_over(false).await.unwrap();
    }

    async fn create_over(&mut self, with_base: bool) -> Outcome {
        let name = self.name();
        let base = match with_base {
            true => BaseName::Outside {
                spec: "image".into(),
                sectors: BASE,
            },
            false => BaseName::Nothing,
        };
        let value = |sector| if with_base { base_value(sector) } else { 0 };
        let model = Model::new((0..VOLUME).map(value));
        self.models.insert(name.clone(), (There::Perhaps, model));
        self.managed(self.pool.create(&name, VOLUME, base).await)?;
        self.models.get_mut(&name).unwrap().0 = There::Yes;
        Ok(())
    }

    async fn snapshot(&mut self, name: &str) -> Outcome {
        let new = self.name();
        let frozen = self.models[name].1.clone();
        self.models.insert(new.clone(), (There::Perhaps, frozen));
        self.managed(self.pool.snapshot(name, &new).await)?;
        for name in [name, &new] {
            let (there, model) = self.models.get_mut(name).unwrap();
            *there = There::Yes;
            model.flushed(model.mark());
        }
        Ok(())
    }

    async fn remove(&mut self) -> Outcome {
        let names: Vec<String> = self.models.keys().cloned().collect();
        let name = &names[self.dice.roll(names.len() as u64) as usize];
        let layer = self.pool.volume(name).unwrap().layer();
        let refusal = self.pool.remove(name).await;
        if refusal
            .as_ref()
            .is_err_and(|why| why.contains("is the base of"))
        {
            return Ok(());
        }
        drop(layer);
        self.models.get_mut(name).unwrap().0 = There::Perhaps;
        self.managed(refusal)?;
        self.models.remove(name);
        Ok(())
    }

    /// What became of a change of volumes: only a loss of power keeps it from succeeding.
    fn managed(&self, result: Result<(), String>) -> Outcome {
        assert!(result.is_ok() || self.disk.is_dead(), "{result:?}");
        result.map_err(|_| DiskError::Io)
    }

    async fn discard(&mut self, name: &str) -> Outcome {
        let start = self.dice.roll(VOLUME);
        let count = self.dice.roll(VOLUME - start);
        self.discard_range(name, start, count).await
    }

    /// Gives up all that a volume holds.
    pub(super) async fn discard_all(&mut self, name: &str) -> Outcome {
        self.discard_range(name, 0, VOLUME).await
    }

    /// Writes all of a volume.
    pub(super) async fn write_all(&mut self, name: &str) -> Outcome {
        let write = self.write(name, 0, VOLUME);
        perform(&*self.open(name), write).await
    }

    async fn discard_range(&mut self, name: &str, start: u64, count: u64) -> Outcome {
        self.models.get_mut(name).unwrap().1.discard(start, count);
        let volume = self.open(name);
        perform(
            &*volume,
            DiskRequest::Discard {
                sector: start,
                sectors: count,
            },
        )
        .await
    }

    pub(super) async fn flush(&mut self, name: &str) -> Outcome {
        let mark = self.models[name].1.mark();
        perform(&*self.open(name), DiskRequest::Flush).await?;
        self.models.get_mut(name).unwrap().1.flushed(mark);
        Ok(())
    }

    async fn read(&mut self, name: &str) -> Outcome {
        let volume = self.open(name);
        let start = self.dice.roll(VOLUME);
        let count = 1 + self.dice.roll(VOLUME - start);
        let values = self.values(&volume, start, count).await?;
        self.models[name].1.check_now(start, &values);
        Ok(())
    }

    /// Writes several ranges at the same time: side by side, often within one block. Some of
    /// them may be durable; a flush or a discard may be under way meanwhile.
    async fn write_together(&mut self, name: &str) -> Outcome {
        let volume = self.open(name);
        let mark = self.models[name].1.mark();
        let mut requests = Vec::new();
        let mut durable = Vec::new();
        let mut at = self.dice.roll(VOLUME);
        for _ in 0..1 + self.dice.roll(4) {
            let longest = [4, 16, 300][self.dice.roll(3) as usize];
            let count = (1 + self.dice.roll(longest)).min(VOLUME - at);
            if count == 0 {
                break;
            }
            let write = self.write(name, at, count);
            if matches!(write, DiskRequest::Write { durable: true, .. }) {
                durable.push((at, count));
            }
            requests.push(write);
            at += count;
        }
        let flushes = self.dice.roll(3) == 0;
        requests.extend(flushes.then_some(DiskRequest::Flush));
        if self.dice.roll(5) == 0 {
            let sector = self.dice.roll(VOLUME);
            let sectors = self.dice.roll(VOLUME - sector);
            // Whichever comes last, what was written or anything is there.
            self.models
                .get_mut(name)
                .unwrap()
                .1
                .discard(sector, sectors);
            requests.push(DiskRequest::Discard { sector, sectors });
        }
        let requests = requests
            .into_iter()
            .map(|request| perform(&*volume, request));
        for result in join_all(requests).await {
            result?;
        }
        let model = &mut self.models.get_mut(name).unwrap().1;
        durable
            .iter()
            .for_each(|&(at, count)| model.durable(at, count));
        if flushes && durable.is_empty() {
            model.flushed(mark);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, sector: u64, count: u64) -> DiskRequest {
        let values: Vec<u32> = (0..count as u32).map(|n| self.next_value + n).collect();
        self.next_value += count as u32;
        self.models.get_mut(name).unwrap().1.write(sector, &values);
        DiskRequest::Write {
            sector,
            pieces: self.data(&values),
            durable: self.dice.roll(6) == 0,
        }
    }

    fn name(&mut self) -> String {
        self.next_name += 1;
        format!("v{}", self.next_name)
    }

    pub(super) fn data(&self, values: &[u32]) -> Vec<backends::host::Piece> {
        // Not at the start of a page, as guests do it.
        let skip = 512 * (values[0] as usize % 8);
        let len = values.len() * 512;
        let memory = memory(&*self.host, skip + len).unwrap();
        for (sector, &value) in values.iter().enumerate() {
            let mut bytes = [0xaa; 512];
            stamp(&mut bytes, value);
            memory.copy_to(skip + sector * 512, &bytes);
        }
        pieces(&memory, skip, len)
    }

    pub(super) async fn values(
        &self,
        volume: &OpenVolume,
        start: u64,
        count: u64,
    ) -> Result<Vec<u32>, DiskError> {
        let len = count as usize * 512;
        let memory = memory(&*self.host, len).unwrap();
        memory.copy_to(0, &vec![0x55; len]);
        let read = DiskRequest::Read {
            sector: start,
            pieces: pieces(&memory, 0, len),
        };
        perform(volume, read).await?;
        let mut bytes = vec![0; len];
        memory.copy_from(0, &mut bytes);
        let values = bytes.chunks(512).map(|sector| {
            assert_eq!(sector[..4], sector[508..], "a sector in two halves");
            u32::from_le_bytes(*sector.first_chunk().unwrap())
        });
        Ok(values.collect())
    }

    /// The power is back: everything must be as the model says.
    pub(super) async fn restart(&mut self, seed: u64) {
        // Whatever was under way ends first: it can touch the old disk only.
        for _ in 0..100 {
            self.runtime.yield_now().await;
        }
        self.disk = self.disk.restart(seed);
        self.pool = Self::open_pool(&self.runtime, &self.host, &self.disk).await;
        let there: Vec<String> = self.pool.volumes.borrow().keys().cloned().collect();
        for name in &there {
            assert!(self.models.contains_key(name), "{name} is back");
        }
        let names: Vec<String> = self.models.keys().cloned().collect();
        for name in names {
            if !there.contains(&name) {
                let (there, _) = self.models.remove(&name).unwrap();
                assert_eq!(there, There::Perhaps, "{name} is lost");
                continue;
            }
            let volume = self.open(&name);
            let values = self.values(&volume, 0, VOLUME).await.unwrap();
            let (there, model) = self.models.get_mut(&name).unwrap();
            assert_eq!(volume.geometry().sectors, model.len());
            model.check_after(&values);
            *there = There::Yes;
        }
        self.check_space();
    }

    /// Each chunk in use belongs to a layer.
    fn check_space(&self) {
        let layers = self.pool.layers.borrow();
        let mapped: usize = layers
            .values()
            .map(|layer| layer.map.borrow().iter().count())
            .sum();
        assert_eq!(mapped as u32, self.pool.space.borrow().used());
    }
}
