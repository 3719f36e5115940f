//! A frontend made of bytes.
//!
//! ```text
//!   setup, options, then steps: a number, then what the step needs
//! ```

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{BlkOperation, Segment};
use guest_abi::io::xenbus::XenbusState;
use guest_abi::zerocopy::IntoBytes;

use super::Seen;
use super::input::Input;
use crate::blkback::Options;
use crate::blkback::testing::{RawSlot, Rig, Setup, discard, indirect, segment, transfer};
use crate::host::fake::{FakeDisk, FakePage};
use crate::host::{DiskError, SharedPage};
use crate::xenbus::{End, Wish};

/// Steps of one input.
const STEPS: usize = 200;
/// Sectors of the disk.
const SECTORS: u64 = 64;
/// Rings, pages of requests under way and grants kept: all that may ever be mapped, per queue.
const MAPPED: usize = 16 + (1024 + 256) + 128 * 12;

/// Carries out the steps of a frontend.
///
/// # Panics
///
/// When the backend breaks a promise.
pub fn blkback(data: &[u8]) -> Seen {
    let mut input = Input::new(data);
    let mut guest = Guest::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() || !guest.rig.is_running() {
            break;
        }
        guest.step(&mut input);
        guest.check();
    }
    guest.end()
}

struct Guest {
    rig: Rig,
    setup: Setup,
    queues: usize,
    pages: Vec<(GrantRef, FakePage)>,
    /// The last request, for changing bits of it.
    last: RawSlot,
    /// What the disk held when nobody may write to it.
    unwritten: Option<Vec<u8>>,
    /// Ids that were asked for, per queue; a guest that cheats about its ring has none.
    open: Option<Vec<BTreeSet<u64>>>,
    next_id: u64,
    seen: Seen,
}

impl Guest {
    fn new(input: &mut Input<'_>) -> Self {
        let (first, second) = (input.byte(), input.byte());
        let setup = Setup {
            queues: u32::from(first & 3) + 1,
            order: u32::from(first >> 2 & 7) % 5,
            persistent: first & 0x20 != 0,
        };
        let options = Options {
            read_only: second & 1 != 0,
            max_indirect_segments: if second & 2 != 0 { 0 } else { 256 },
            ..Options::default()
        };
        let large = second & 4 != 0;
        let disk = FakeDisk::new(SECTORS).with_geometry(|geometry| {
            geometry.sector_size = if large { 4096 } else { 512 };
        });
        disk.with_bytes(|bytes| bytes.fill(0xa5));
        let mut rig = Rig::with(disk, options);
        rig.disk.holding.set(first & 0x40 != 0);
        let unwritten = options.read_only.then(|| rig.disk.durable());
        rig.connect(setup);
        let pages = (0..20).map(|_| rig.front.grant()).collect();
        let queues = usize::try_from(setup.queues).unwrap_or(1);
        Self {
            rig,
            setup,
            queues,
            pages,
            last: [0; 112],
            unwritten,
            open: Some(alloc::vec![BTreeSet::new(); queues]),
            next_id: 0,
            seen: Seen::default(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 20 {
            0..4 => self.push_transfer(input),
            4 | 5 => self.push_indirect(input),
            6 => self.push_discard(input),
            7 => self.push_changed(input),
            8..11 => self.publish(input),
            11 | 12 => self.release(input),
            13 => self.read_answers(),
            14 => self.write_page(input),
            15 => self.lie(input),
            16 => self.break_a_rule(input),
            17 => self.change_state(input),
            18 => self.rig.disk.inner.failure.set(input.choose(&[
                None,
                Some(DiskError::Io),
                Some(DiskError::Unsupported),
            ])),
            _ if input.below(2) == 0 => self.restart(),
            _ => self.start_anew(),
        }
        self.rig.run();
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn segment(&mut self, input: &mut Input<'_>) -> Segment {
        let page = input.below(self.pages.len() + 1);
        let gref = match self.pages.get(page) {
            Some(&(grant, _)) => grant,
            None => GrantRef::new(input.word()),
        };
        let sectors = input.byte();
        match sectors {
            0..64 => segment(gref, sectors & 7, sectors >> 3),
            64..250 => segment(gref, 0, 7),
            _ => segment(gref, sectors, input.byte()),
        }
    }

    fn sector(input: &mut Input<'_>) -> u64 {
        match input.byte() {
            255 => u64::from(input.word()) << 32 | u64::from(input.word()),
            sector => u64::from(sector) % (SECTORS + 4),
        }
    }

    fn push_transfer(&mut self, input: &mut Input<'_>) {
        let op = input.choose(&[
            BlkOperation::Read,
            BlkOperation::Write,
            BlkOperation::WriteBarrier,
            BlkOperation::FlushDiskcache,
        ]);
        let sector = Self::sector(input);
        let count = input.below(14);
        let segments: Vec<_> = (0..count).map(|_| self.segment(input)).collect();
        let request = transfer(op, self.id(), sector, &segments);
        self.push(input, &request);
    }

    fn push_indirect(&mut self, input: &mut Input<'_>) {
        let op = input.choose(&[
            BlkOperation::Read,
            BlkOperation::Write,
            BlkOperation::Discard,
        ]);
        let (sector, count) = (Self::sector(input), input.short() % 300);
        let list = input.below(self.pages.len());
        if input.below(4) != 0 {
            for place in 0..usize::from(count).min(24) {
                let segment = self.segment(input);
                self.pages[list].1.copy_to(place * 8, segment.as_bytes());
            }
        }
        let request = indirect(op, self.id(), sector, count, self.pages[list].0);
        self.push(input, &request);
    }

    fn push_discard(&mut self, input: &mut Input<'_>) {
        let (sector, sectors) = (Self::sector(input), Self::sector(input));
        let request = discard(self.id(), sector, sectors, input.byte() & 1);
        self.push(input, &request);
    }

    /// The last request again with some bytes changed; but its id is new.
    fn push_changed(&mut self, input: &mut Input<'_>) {
        let mut request = self.last;
        for _ in 0..input.below(4) {
            let at = input.below(request.len());
            request[at] = input.byte();
        }
        let id = self.id();
        request[8..16].copy_from_slice(&id.to_le_bytes());
        self.push(input, &request);
    }

    fn push(&mut self, input: &mut Input<'_>, request: &RawSlot) {
        let queue = input.below(self.queues);
        self.last = *request;
        if self.rig.front.room(queue) == 0 {
            return;
        }
        self.rig.front.push(queue, request);
        if let Some(open) = &mut self.open {
            open[queue].insert(self.next_id);
        }
    }

    fn publish(&mut self, input: &mut Input<'_>) {
        let queue = input.below(self.queues);
        self.rig.front.publish(queue);
    }

    fn release(&mut self, input: &mut Input<'_>) {
        let held = self.rig.disk.held();
        if held > 0 {
            self.rig.disk.release(input.below(held));
        }
    }

    /// Every answer is one to a question, and the only one.
    fn read_answers(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        for (queue, open) in open.iter_mut().enumerate() {
            for response in self.rig.front.responses(queue) {
                assert!(open.remove(&response.id), "{response:?} to nothing");
                let status = u32::from(response.status.unsigned_abs());
                let which = u32::from(response.operation) << 2 | status;
                self.seen.note("answer", which);
            }
        }
    }

    fn write_page(&mut self, input: &mut Input<'_>) {
        let (page, at) = (input.below(self.pages.len()), input.below(64));
        let bytes = input.bytes(8);
        self.pages[page].1.copy_to(at * 8, bytes);
    }

    /// Anything at all in the head of the ring. Nothing that it says afterwards can be checked.
    fn lie(&mut self, input: &mut Input<'_>) {
        self.open = None;
        let (queue, word) = (input.below(self.queues), input.below(16));
        self.rig.front.poke(queue, word * 4, input.word());
        self.rig.front.channel(queue).send();
    }

    fn break_a_rule(&mut self, input: &mut Input<'_>) {
        match input.below(3) {
            0 => {
                let page = input.below(self.pages.len());
                self.rig.front.revoke(self.pages[page].0);
            }
            1 => {
                self.open = None;
                let (queue, index) = (input.below(self.queues), u32::from(input.byte()));
                self.rig.front.overwrite(queue, index, &self.last.clone());
            }
            _ => {
                let key =
                    input.choose(&["ring-ref", "event-channel", "protocol", "ring-page-order"]);
                self.rig.front.set(key, input.byte());
            }
        }
    }

    fn change_state(&mut self, input: &mut Input<'_>) {
        let state = input.choose(XenbusState::ALL);
        self.rig.front.state(state);
        self.seen.note("state", state.number());
    }

    fn restart(&mut self) {
        self.rig.control.wish(Wish::HandOver);
        while self.rig.is_running() && self.rig.run().is_none() {
            assert!(self.rig.disk.held() > 0, "it waits for nothing");
            self.rig.disk.release(0);
        }
        assert_eq!(self.rig.host.mapped(), 0);
        self.rig.take_over();
        self.seen.note("restart", self.rig.state().number());
    }

    /// The guest's driver is loaded again; if the backend goes along, everything starts afresh.
    fn start_anew(&mut self) {
        for state in [XenbusState::Closed, XenbusState::Initialising] {
            self.rig.front.state(state);
            self.rig.run();
        }
        self.rig.front.connect(self.setup);
        self.open = Some(alloc::vec![BTreeSet::new(); self.queues]);
    }

    fn check(&mut self) {
        assert!(self.rig.host.mapped() <= MAPPED * self.queues);
        self.seen.note("back", self.rig.state().number());
        self.seen.count("held", self.rig.disk.held());
        let statistics = self.rig.blkback.statistics();
        self.seen.note("merged", u32::from(statistics.merged > 0));
        if let Some(unwritten) = &self.unwritten {
            self.rig
                .disk
                .inner
                .with_bytes(|bytes| assert_eq!(bytes, unwritten));
        }
    }

    /// The guest's nodes go, as when its domain dies: everything ends and nothing is left.
    fn end(mut self) -> Seen {
        if let Some(error) = self.rig.error() {
            let words = error.bytes().filter(u8::is_ascii_alphabetic).map(u32::from);
            self.seen.note("error", words.sum());
        }
        self.rig.front.state(XenbusState::Closed);
        self.rig.control.wish(Wish::Detach);
        let mut end = self.rig.run();
        while end.is_none() {
            assert!(self.rig.disk.held() > 0, "it waits for nothing");
            self.rig.disk.release(0);
            end = self.rig.run();
        }
        self.read_answers();
        assert_eq!(end, Some(Ok(End::Closed)), "{:?}", self.rig);
        assert_eq!(self.rig.host.mapped(), 0);
        assert!((0..self.queues).all(|queue| !self.rig.front.channel(queue).is_open()));
        self.seen
    }
}
