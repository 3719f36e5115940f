//! Random operations, many in flight, each sector held against the model.
//!
//! Operations in flight never overlap, unless both read: then what a read must find is known.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::ops::Range;

use frontends::{
    blkfront::{Blkfront, Completion, Operation, Request, RequestId, Segment, SubmitError},
    events,
    guest_abi::VcpuId,
    println,
    xenbus::{Device, Life, Store, Transaction},
};

use super::{Failed, Host};
use crate::{
    model::{Model, SECTOR, pattern},
    random::Random,
};

/// The only virtual CPU.
pub(super) const VCPU: VcpuId = VcpuId::new(0);
/// Sectors that take part, unless the command line says otherwise: 16 MiB.
const SPAN: u64 = 32 << 10;
/// Tokens of our watches.
const ORDER: &str = "order";
const PLUG: &str = "plug";

/// An operation in flight.
struct Open {
    sectors: Range<u64>,
    operation: Operation,
    generation: Option<u32>,
}

struct Verify {
    host: Host,
    disk: Option<Blkfront>,
    model: Model,
    random: Random,
    open: BTreeMap<RequestId, Open>,
    depth: usize,
    submitted: u64,
    ended: u64,
    limit: Option<u64>,
    stopping: bool,
}

/// Runs until the operations are done, or the toolstack has enough.
pub(super) fn run(mut host: Host, disk: Blkfront) -> Result<String, Failed> {
    host.store.begin_watch("control/shutdown", ORDER)?;
    host.store.begin_watch("device/vbd", PLUG)?;
    let span = host.number("span").unwrap_or(SPAN);
    let depth = host.number("depth").unwrap_or(16).clamp(1, 512);
    let mut verify = Verify {
        model: Model::new(span.min(disk.geometry().sectors) & !7),
        random: Random::new(host.number("seed").unwrap_or(1)),
        open: BTreeMap::new(),
        depth: usize::try_from(depth).unwrap_or(1),
        submitted: 0,
        ended: 0,
        limit: host.number("ops"),
        stopping: false,
        disk: Some(disk),
        host,
    };
    verify.fill()?;
    while !(verify.is_done() && verify.open.is_empty()) {
        verify.turn()?;
    }
    verify.read_all()?;
    if let Some(disk) = verify.disk.take() {
        disk.close(&mut verify.host.store)?;
    }
    Ok(format!("ops={}", verify.ended))
}

impl Verify {
    fn is_done(&self) -> bool {
        self.stopping || self.limit.is_some_and(|limit| self.submitted >= limit)
    }

    /// Writes every sector once, so that all of them are known.
    fn fill(&mut self) -> Result<(), Failed> {
        let Some(disk) = self.disk.as_mut().filter(|disk| !disk.geometry().read_only) else {
            return Ok(());
        };
        let generation = self.model.next_generation();
        for start in (0..self.model.sectors()).step_by(256) {
            let count = (self.model.sectors() - start).min(256);
            let bytes: Vec<u8> = (start..start + count)
                .flat_map(|sector| pattern(sector, generation))
                .collect();
            disk.write(start, &bytes)?;
            self.model.set(start, count, Some(generation));
        }
        println!("filled {} sectors", self.model.sectors());
        Ok(())
    }

    /// Reads every sector once more.
    fn read_all(&mut self) -> Result<(), Failed> {
        let Some(disk) = self.disk.as_mut() else {
            return Ok(());
        };
        let mut bytes = [0; SECTOR * 8];
        for start in (0..self.model.sectors()).step_by(8) {
            disk.read(start, &mut bytes)?;
            let (sectors, _) = bytes.as_chunks::<SECTOR>();
            for (sector, bytes) in (start..).zip(sectors) {
                expect(&self.model, sector, bytes)?;
            }
        }
        Ok(())
    }

    /// One round: takes what came, sends more, sleeps if there is nothing to do.
    fn turn(&mut self) -> Result<(), Failed> {
        events::take(VCPU, |_| ());
        while let Some(event) = self.host.store.poll_event() {
            self.heed(&event.token)?;
        }
        let Some(mut disk) = self.disk.take() else {
            events::wait(VCPU);
            return Ok(());
        };
        let mut progress = false;
        while let Some(done) = disk.complete()? {
            progress = true;
            let request = self.land(done)?;
            disk.recycle(request);
        }
        while !self.is_done() && self.open.len() < self.depth && self.launch(&mut disk)? {
            progress = true;
        }
        disk.kick();
        if !progress && !disk.arm() {
            events::wait(VCPU);
        }
        self.disk = Some(disk);
        Ok(())
    }

    /// A watch has fired.
    fn heed(&mut self, token: &str) -> Result<(), Failed> {
        if token == ORDER {
            let order = self.host.store.read(Transaction::NONE, "control/shutdown");
            self.stopping |= order.is_ok_and(|order| !order.is_empty());
        } else if token == PLUG {
            self.plug_in()?;
        } else if let Some(disk) = self.disk.take_if(|disk| disk.device().token() == token) {
            self.attend(disk)?;
        }
        Ok(())
    }

    /// The disk's backend has changed its state.
    fn attend(&mut self, mut disk: Blkfront) -> Result<(), Failed> {
        let mut life = disk.life(&mut self.host.store)?;
        if life == Life::Restarted {
            life = self.reconnect(&mut disk)?;
        }
        match life {
            Life::Serving | Life::Restarted => self.disk = Some(disk),
            Life::CloseAsked => {
                for done in disk.close(&mut self.host.store)? {
                    self.land(done)?;
                }
                println!("unplugged after {} operations", self.ended);
                self.plug_in()?;
            }
        }
        Ok(())
    }

    /// Connects to the backend that has started anew; what the disk's life is then.
    fn reconnect(&mut self, disk: &mut Blkfront) -> Result<Life, Failed> {
        let renamed = match disk.reconnect(&mut self.host.store) {
            Err(error) if error.is_unplugged() => return Ok(Life::CloseAsked),
            renamed => renamed?,
        };
        println!("reconnected, {} sent again", renamed.len());
        let moved: Vec<_> = renamed
            .into_iter()
            .filter_map(|(old, new)| Some((new, self.open.remove(&old)?)))
            .collect();
        self.open.extend(moved);
        Ok(Life::Serving)
    }

    /// Connects again if our disk is gone and one with its number has appeared.
    fn plug_in(&mut self) -> Result<(), Failed> {
        if self.disk.is_some() {
            return Ok(());
        }
        let state = format!("device/vbd/{}/state", self.host.id);
        let fresh = self.host.store.get(&state)?.as_deref() == Some("1");
        if fresh && Device::list(&mut self.host.store, "vbd")?.contains(&self.host.id) {
            match self.host.connect() {
                Err(error) if error.is_unplugged() => println!("unplugged at once"),
                disk => {
                    self.disk = Some(disk?);
                    println!("plugged in again");
                }
            }
        }
        Ok(())
    }

    /// Picks an operation and sends it; `false` when it must wait for others.
    fn launch(&mut self, disk: &mut Blkfront) -> Result<bool, Failed> {
        let unit = u64::from(disk.geometry().sector_size / 512).max(1);
        let operation = self.pick(disk);
        let most = (disk.geometry().max_segments as u64 * 8).min(2048);
        let size = 1_u64 << self.random.below(12);
        let count = match operation {
            Operation::Flush => 0,
            _ => (1 + self.random.below(size))
                .min(most)
                .next_multiple_of(unit),
        };
        let places = (self.model.sectors().saturating_sub(count) / unit).max(1);
        let start = self.random.below(places) * unit;
        let sectors = start..(start + count).min(self.model.sectors());
        let clash = |open: &Open| {
            let reads = open.operation == Operation::Read && operation == Operation::Read;
            !reads && open.sectors.start < sectors.end && sectors.start < open.sectors.end
        };
        if self.open.values().any(clash) {
            return Ok(false);
        }
        let generation = (operation == Operation::Write).then(|| self.model.next_generation());
        let request = request(disk, operation, &sectors, generation)?;
        let queue = usize::try_from(self.submitted).unwrap_or(0);
        match disk.submit_on(queue, request) {
            Ok(id) => {
                if operation != Operation::Read {
                    // Until it has ended, either may be there.
                    self.model.set(start, sectors.end - start, None);
                }
                let open = Open {
                    sectors,
                    operation,
                    generation,
                };
                self.open.insert(id, open);
                self.submitted += 1;
                Ok(true)
            }
            Err(SubmitError::Busy(_)) => Ok(false),
            Err(SubmitError::Invalid(_, why)) => Err(Failed(format!("{operation:?}: {why}"))),
        }
    }

    fn pick(&mut self, disk: &Blkfront) -> Operation {
        let it = disk.geometry();
        match self.random.below(20) {
            0 if it.features.flush => Operation::Flush,
            1 if it.features.discard && !it.read_only => Operation::Discard {
                sectors: 0,
                secure: false,
            },
            2..=10 if !it.read_only => Operation::Write,
            _ => Operation::Read,
        }
    }

    /// An operation has ended: what the disk holds now is known, or is checked.
    fn land(&mut self, done: Completion) -> Result<Request, Failed> {
        let Some(open) = self.open.remove(&done.id) else {
            return Err(Failed("a completion of nothing".into()));
        };
        self.ended += 1;
        if self.ended.is_multiple_of(10_000) {
            println!("{} operations", self.ended);
        }
        let Range { start, end } = open.sectors;
        match (done.result, open.operation) {
            (Err(frontends::blkfront::Failure::Closed), _) => {}
            (Err(why), operation) => {
                return Err(Failed(format!("{operation:?} of {start}..{end}: {why}")));
            }
            (Ok(()), Operation::Write) => self.model.set(start, end - start, open.generation),
            (Ok(()), Operation::Read) => compare(&self.model, start, &done.request)?,
            (Ok(()), _) => {}
        }
        Ok(done.request)
    }
}

/// A request for a range, with its data.
fn request(
    disk: &mut Blkfront,
    operation: Operation,
    sectors: &Range<u64>,
    generation: Option<u32>,
) -> Result<Request, Failed> {
    let count = sectors.end - sectors.start;
    match operation {
        Operation::Flush => return Ok(Request::flush()),
        Operation::Discard { .. } => return Ok(Request::discard(sectors.start, count)),
        _ => {}
    }
    let mut segments = Vec::new();
    for start in sectors.clone().step_by(8) {
        let page = disk.page()?;
        let here = (sectors.end - start).min(8);
        for (offset, sector) in (0..).step_by(SECTOR).zip(start..start + here) {
            if let Some(generation) = generation {
                page.write(offset, &pattern(sector, generation));
            }
        }
        segments.push(Segment {
            page,
            first: 0,
            sectors: u8::try_from(here).unwrap_or(8),
        });
    }
    Ok(Request::transfer(operation, sectors.start, segments))
}

/// Holds what a read has brought against the model.
fn compare(model: &Model, start: u64, request: &Request) -> Result<(), Failed> {
    let mut sector = start;
    for segment in &request.segments {
        for index in 0..usize::from(segment.sectors) {
            let mut bytes = [0; SECTOR];
            segment.page.read(index * SECTOR, &mut bytes);
            expect(model, sector, &bytes)?;
            sector += 1;
        }
    }
    Ok(())
}

fn expect(model: &Model, sector: u64, bytes: &[u8; SECTOR]) -> Result<(), Failed> {
    if model.allows(sector, bytes) {
        return Ok(());
    }
    Err(Failed(format!(
        "sector {sector} holds {:02x?}…, which nobody wrote there last",
        &bytes[..16]
    )))
}
