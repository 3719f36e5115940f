//! Many requests at once, ended in any order, with restarts between: what was answered is there,
//! and what was promised to last has lasted.
//!
//! The disk is divided into areas; a write fills one of them with its version, and nobody writes
//! to an area that is being written.

use super::SETUPS;
use crate::blkback::Options;
use crate::blkback::testing::{RawSlot, Rig, Setup, flush, segment, transfer};
use crate::host::fake::{FakeDisk, FakePage};
use crate::host::{SECTOR_SIZE, SharedPage};
use crate::xenbus::{End, Wish};
use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{BlkOperation, BlkStatus};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::collections::BTreeMap;

/// Areas of a page each.
const AREAS: usize = 32;

/// A version for each area.
type Versions = [u8; AREAS];

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(BlkOperation, u8, usize),
    Publish(u8),
    Release(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        4 => Just(BlkOperation::Write),
        2 => Just(BlkOperation::Read),
        1 => Just(BlkOperation::WriteBarrier),
        1 => Just(BlkOperation::FlushDiskcache),
    ];
    prop_oneof![
        12 => (op, any::<u8>(), 0..AREAS).prop_map(|(op, queue, area)| Step::Ask(op, queue, area)),
        4 => any::<u8>().prop_map(Step::Publish),
        8 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Restart),
    ]
}

struct Open {
    op: BlkOperation,
    area: usize,
    /// What is durable when this is answered.
    covers: Versions,
}

struct Model {
    rig: Rig,
    queues: usize,
    pages: Vec<(GrantRef, FakePage)>,
    open: BTreeMap<u64, Open>,
    /// Areas in use by a request.
    busy: [bool; AREAS],
    asked: Versions,
    answered: Versions,
    /// Asked before on the same queue, answered or not.
    behind: Vec<Versions>,
    durable: Versions,
    next: u64,
}

fn raise(versions: &mut Versions, to: &Versions) {
    for (version, to) in versions.iter_mut().zip(to) {
        *version = (*version).max(*to);
    }
}

impl Model {
    fn new(setup: Setup) -> Self {
        let disk = FakeDisk::new(AREAS as u64 * 8);
        let mut rig = Rig::with(disk, Options::default());
        rig.connect(setup);
        rig.disk.holding.set(true);
        let queues = usize::try_from(setup.queues).unwrap();
        Self {
            pages: (0..AREAS).map(|_| rig.front.grant()).collect(),
            rig,
            queues,
            open: BTreeMap::new(),
            busy: [false; AREAS],
            asked: [0; AREAS],
            answered: [0; AREAS],
            behind: vec![[0; AREAS]; queues],
            durable: [0; AREAS],
            next: 0,
        }
    }

    fn ask(&mut self, op: BlkOperation, queue: u8, area: usize) {
        let queue = usize::from(queue) % self.queues;
        let flushes = op == BlkOperation::FlushDiskcache;
        if self.rig.front.room(queue) == 0 || self.busy[area] && !flushes {
            return;
        }
        let id = self.next;
        self.next += 1;
        let mut covers = [0; AREAS];
        let request = match op {
            BlkOperation::FlushDiskcache => {
                covers = self.answered;
                flush(id)
            }
            _ => self.transfer(op, id, area),
        };
        if op == BlkOperation::WriteBarrier {
            covers = self.behind[queue];
            raise(&mut covers, &self.answered);
            covers[area] = self.asked[area];
        }
        if matches!(op, BlkOperation::Write | BlkOperation::WriteBarrier) {
            self.behind[queue][area] = self.asked[area];
        }
        self.open.insert(id, Open { op, area, covers });
        self.rig.front.push(queue, &request);
    }

    fn transfer(&mut self, op: BlkOperation, id: u64, area: usize) -> RawSlot {
        self.busy[area] = true;
        let (grant, page) = &self.pages[area];
        if op == BlkOperation::Read {
            page.copy_to(0, &[0xee; 4096]);
        } else {
            self.asked[area] += 1;
            page.copy_to(0, &[self.asked[area]; 4096]);
        }
        let data = [segment(*grant, 0, 7)];
        transfer(op, id, area as u64 * 8, &data)
    }

    fn answers(&mut self) {
        for queue in 0..self.queues {
            for response in self.rig.front.responses(queue) {
                let open = self.open.remove(&response.id).expect("a question");
                assert_eq!(response.operation, open.op.number());
                assert_eq!(response.status, BlkStatus::Okay.number());
                self.answer(&open);
            }
        }
        self.survivors();
    }

    fn answer(&mut self, open: &Open) {
        let area = open.area;
        match open.op {
            BlkOperation::Read => {
                let mut bytes = [0; 4096];
                self.pages[area].1.copy_from(0, &mut bytes);
                assert_eq!(bytes, [self.answered[area]; 4096]);
            }
            BlkOperation::FlushDiskcache => raise(&mut self.durable, &open.covers),
            _ => {
                self.answered[area] = self.asked[area];
                raise(&mut self.durable, &open.covers);
            }
        }
        if open.op != BlkOperation::FlushDiskcache {
            self.busy[area] = false;
        }
    }

    /// What a loss of power would leave at this moment.
    fn survivors(&self) {
        let disk = self.rig.disk.durable();
        for area in 0..AREAS {
            let version = disk[area * 8 * SECTOR_SIZE];
            assert!(version >= self.durable[area], "area {area} was lost");
            assert!(version <= self.asked[area]);
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Ask(op, queue, area) => self.ask(op, queue, area),
            Step::Publish(queue) => {
                self.rig.front.publish(usize::from(queue) % self.queues);
                self.rig.run();
            }
            Step::Release(which) => {
                let held = self.rig.disk.held();
                if held > 0 {
                    self.rig.disk.release(which % held);
                    self.rig.run();
                }
            }
            Step::Restart => self.restart(),
        }
        self.answers();
    }

    fn restart(&mut self) {
        self.rig.control.wish(Wish::HandOver);
        let mut end = self.rig.run();
        while end.is_none() {
            self.rig.disk.release(self.rig.disk.held() / 2);
            end = self.rig.run();
            self.answers();
        }
        assert_eq!(end, Some(Ok(End::HandedOver)));
        assert_eq!(self.rig.host.mapped(), 0);
        self.rig.take_over();
    }

    /// Everything asked is answered in the end.
    fn settle(mut self) {
        (0..self.queues).for_each(|queue| self.rig.front.publish(queue));
        self.rig.run();
        self.answers();
        while self.rig.disk.held() > 0 {
            self.rig.disk.release(0);
            self.rig.run();
            self.answers();
        }
        assert!(self.open.is_empty(), "{} never answered", self.open.len());
        self.rig.disk.inner.with_bytes(|bytes| {
            let versions = bytes.chunks(8 * SECTOR_SIZE).map(|area| area[17]);
            assert!(versions.take(AREAS).eq(self.answered));
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_whatever_order_things_end(
        setup in proptest::sample::select(SETUPS.as_slice()),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut model = Model::new(setup);
        for step in steps {
            model.run(step);
        }
        model.settle();
    }
}
