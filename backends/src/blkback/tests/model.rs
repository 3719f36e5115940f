//! Random operations against a plain array of bytes.

use super::SETUPS;
use crate::blkback::Options;
use crate::blkback::testing::{RawSlot, Rig, Setup, discard, flush, indirect, segment, transfer};
use crate::host::fake::{FakeDisk, FakePage};
use crate::host::{SECTOR_SIZE, SharedPage};
use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::{BlkOperation, BlkStatus, Segment};
use guest_abi::zerocopy::IntoBytes;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

/// Sectors of the disk that operations touch.
const SECTORS: u64 = 256;

#[derive(Clone, Debug)]
enum Step {
    /// Direction, first sector, segments as (first, last) of a page, byte to write.
    Transfer(BlkOperation, u64, Vec<(u8, u8)>, u8),
    Discard(u64, u64),
    Flush,
    /// One request of those held ends.
    Release(usize),
    Restart,
    /// The power goes and comes back.
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let op = prop_oneof![
        3 => Just(BlkOperation::Read),
        3 => Just(BlkOperation::Write),
        1 => Just(BlkOperation::WriteBarrier),
    ];
    let part = (0_u8..8, 0_u8..8).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let parts = proptest::collection::vec(part, 1..24);
    prop_oneof![
        12 => (op, 0..SECTORS, parts, any::<u8>())
            .prop_map(|(op, sector, parts, byte)| Step::Transfer(op, sector, parts, byte)),
        1 => (0..SECTORS, 0_u64..32).prop_map(|(sector, sectors)| Step::Discard(sector, sectors)),
        2 => Just(Step::Flush),
        8 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Restart),
        1 => Just(Step::PowerLoss),
    ]
}

/// A request under way.
struct Open {
    id: u64,
    op: BlkOperation,
    range: core::ops::Range<usize>,
    /// Where read data arrives.
    pages: Vec<(FakePage, Segment)>,
    byte: u8,
}

struct Model {
    rig: Rig,
    queue: usize,
    bytes: Vec<u8>,
    /// What must survive.
    durable: Vec<u8>,
    next: u64,
    open: Option<Open>,
}

impl Model {
    fn new(setup: Setup) -> Self {
        // The last transfers go beyond SECTORS, never beyond the end.
        let mut rig = Rig::with(FakeDisk::new(SECTORS + 192), Options::default());
        rig.connect(setup);
        rig.disk.holding.set(true);
        let bytes = rig.disk.inner.with_bytes(|bytes| bytes.clone());
        Self {
            rig,
            queue: usize::try_from(setup.queues).unwrap() - 1,
            durable: bytes.clone(),
            bytes,
            next: 0,
            open: None,
        }
    }

    /// Asks; what it does to the disk is known when it is answered, so one thing at a time.
    fn ask(&mut self, open: Open, request: &RawSlot) {
        self.settle();
        self.open = Some(open);
        self.rig.front.push(self.queue, request);
        self.rig.front.publish(self.queue);
        self.rig.run();
        self.answers();
    }

    fn settle(&mut self) {
        while self.open.is_some() {
            assert!(self.rig.disk.held() > 0, "nothing will ever answer");
            self.rig.disk.release(0);
            self.rig.run();
            self.answers();
        }
    }

    fn transfer(&mut self, op: BlkOperation, sector: u64, parts: &[(u8, u8)], byte: u8) {
        // A disk page is used by one segment only, as real guests do.
        let mut pages = Vec::new();
        for &(first, last) in parts {
            let (grant, page) = self.rig.front.grant();
            page.copy_to(0, &[byte; 4096]);
            pages.push((page, segment(grant, first, last)));
        }
        let segments: Vec<Segment> = pages.iter().map(|&(_, segment)| segment).collect();
        let id = self.next;
        self.next += 1;
        let request = if segments.len() <= 11 {
            transfer(op, id, sector, &segments)
        } else {
            let list = self.list(&segments);
            let count = u16::try_from(segments.len()).unwrap();
            indirect(op, id, sector, count, list)
        };
        let start = usize::try_from(sector).unwrap() * SECTOR_SIZE;
        let sectors: usize = parts.iter().map(|&(a, b)| usize::from(b - a) + 1).sum();
        let range = start..start + sectors * SECTOR_SIZE;
        let open = Open {
            id,
            op,
            range,
            pages,
            byte,
        };
        self.ask(open, &request);
    }

    fn list(&mut self, segments: &[Segment]) -> GrantRef {
        let (grant, page) = self.rig.front.grant();
        page.copy_to(0, segments.as_bytes());
        grant
    }

    fn other(&mut self, op: BlkOperation, sector: u64, sectors: u64) {
        let id = self.next;
        self.next += 1;
        let request = match op {
            BlkOperation::Discard => discard(id, sector, sectors, 0),
            _ => flush(id),
        };
        let start = usize::try_from(sector).unwrap() * SECTOR_SIZE;
        let range = start..start + usize::try_from(sectors).unwrap() * SECTOR_SIZE;
        let open = Open {
            id,
            op,
            range,
            pages: Vec::new(),
            byte: 0,
        };
        self.ask(open, &request);
    }

    /// Does to the model what was answered.
    fn answers(&mut self) {
        let responses = self.rig.front.responses(self.queue);
        assert!(responses.len() <= 1);
        let Some(response) = responses.first() else {
            return;
        };
        let open = self.open.take().unwrap();
        assert_eq!(
            (response.id, response.operation),
            (open.id, open.op.number())
        );
        let barrier = open.op == BlkOperation::WriteBarrier && open.pages.len() > 11;
        let status = if barrier {
            BlkStatus::Error
        } else {
            BlkStatus::Okay
        };
        assert_eq!(response.status, status.number());
        if barrier {
            return;
        }
        match open.op {
            BlkOperation::Read => self.compare(&open),
            _ => self.bytes[open.range].fill(open.byte),
        }
        if matches!(
            open.op,
            BlkOperation::WriteBarrier | BlkOperation::FlushDiskcache
        ) {
            self.durable.clone_from(&self.bytes);
        }
    }

    fn compare(&self, open: &Open) {
        let mut at = open.range.start;
        for (page, segment) in &open.pages {
            let first = usize::from(segment.first_sect) * SECTOR_SIZE;
            let last = (usize::from(segment.last_sect) + 1) * SECTOR_SIZE;
            let mut bytes = vec![0; 4096];
            page.copy_from(0, &mut bytes);
            assert_eq!(bytes[first..last], self.bytes[at..at + last - first]);
            assert!(
                bytes[..first]
                    .iter()
                    .chain(&bytes[last..])
                    .all(|&b| b == open.byte)
            );
            at += last - first;
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Transfer(op, sector, parts, byte) => self.transfer(op, sector, &parts, byte),
            Step::Discard(sector, sectors) => self.other(BlkOperation::Discard, sector, sectors),
            Step::Flush => self.other(BlkOperation::FlushDiskcache, 0, 0),
            Step::Release(which) => {
                let held = self.rig.disk.held();
                if held > 0 {
                    self.rig.disk.release(which % held);
                    self.rig.run();
                    self.answers();
                }
            }
            Step::Restart => {
                self.settle();
                self.rig.restart();
            }
            Step::PowerLoss => {
                self.settle();
                let survived = self.rig.disk.durable();
                // What is not durable may have changed since, but never what is and did not.
                for (n, byte) in survived.iter().enumerate() {
                    if self.bytes[n] == self.durable[n] {
                        assert_eq!(*byte, self.durable[n]);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn a_disk_is_an_array_of_bytes(
        setup in proptest::sample::select(SETUPS.as_slice()),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut model = Model::new(setup);
        for step in steps {
            model.run(step);
        }
        model.settle();
        let bytes = model.rig.disk.inner.with_bytes(|bytes| bytes.clone());
        prop_assert_eq!(bytes == model.bytes, true);
    }
}
