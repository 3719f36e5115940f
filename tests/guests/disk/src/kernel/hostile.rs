//! Each way of breaking the rules, and what the backend did about it.
//!
//! Every attack has a fresh connection of its own. Whatever it does to that one, the next must work,
//! and so must an ordinary read at the end.

use alloc::{format, string::String, vec::Vec};

use frontends::{
    grants::{Grant, Permit},
    guest_abi::{
        grant_table::GrantEntryV1,
        ids::GrantRef,
        io::blkif::{BlkOperation, IndirectRequest},
        zerocopy::IntoBytes,
    },
    memory::Page,
    println,
    time::Alarm,
    xenbus::{Device, Transaction, XenbusState},
};

use super::{
    Failed, Host,
    raw::{Raw, Reaction, read},
};

/// An attack: what it does to a fresh connection, and the pages that must live as long.
type Attack = fn(&mut Host, &mut Raw) -> Result<Vec<Grant>, Failed>;

const ATTACKS: &[(&str, Attack)] = &[
    ("producer-jump", |_, raw| {
        raw.show_index(1 << 31);
        Ok(Vec::new())
    }),
    ("producer-back", |_, raw| {
        raw.show_index(u32::MAX);
        Ok(Vec::new())
    }),
    ("changed-request", changed_request),
    ("bad-sector", |_, raw| {
        let page = raw.disk.page()?;
        raw.put(&read(1, u64::MAX - 3, page.reference()));
        raw.put(&read(2, raw.disk.geometry().sectors, page.reference()));
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("bad-segment", |_, raw| {
        let page = raw.disk.page()?;
        for (first, last) in [(0, 8), (5, 3), (255, 255), (0, 255)] {
            let mut request = read(1, 0, page.reference());
            request.seg[0].first_sect = first;
            request.seg[0].last_sect = last;
            raw.put(&request);
        }
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("segment-count", |_, raw| {
        let page = raw.disk.page()?;
        for count in [0, 12, 255] {
            let mut request = read(1, 0, page.reference());
            request.nr_segments = count;
            raw.put(&request);
        }
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("bad-grant", |_, raw| {
        for reference in [511, 100_000, u32::MAX] {
            raw.put(&read(1, 0, GrantRef::new(reference)));
        }
        raw.show();
        Ok(Vec::new())
    }),
    ("read-only-grant", |host, raw| {
        let page = Page::zeroed()?;
        let page = host.grants.grant(raw.disk.backend(), page, Permit::Read)?;
        raw.put(&read(1, 0, page.reference()));
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("same-grant-twice", |_, raw| {
        let page = raw.disk.page()?;
        for id in 0..16 {
            let mut request = read(id, 0, page.reference());
            request.nr_segments = 11;
            request.seg = [request.seg[0]; 11];
            raw.put(&request);
        }
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("same-id-twice", |_, raw| {
        let page = raw.disk.page()?;
        (0..32).for_each(|_| raw.put(&read(7, 0, page.reference())));
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("responses-never-consumed", flood),
    ("unknown-operation", |_, raw| {
        let page = raw.disk.page()?;
        for operation in [4, 7, 99, 255] {
            let mut request = read(1, 0, page.reference());
            request.operation = operation;
            raw.put(&request);
        }
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("indirect", indirect),
    ("event-storm", |_, raw| {
        (0..20_000).for_each(|_| raw.disk.notify(0));
        let page = raw.disk.page()?;
        raw.put(&read(1, 0, page.reference()));
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("data-page-revoked", |host, raw| {
        let page = raw.disk.page()?;
        (0..32).for_each(|id| raw.put(&read(id, 0, page.reference())));
        raw.show();
        host.grants.write(page.reference(), GrantEntryV1::default());
        Ok(Vec::from([page]))
    }),
    ("ring-page-revoked", |host, raw| {
        let ring = raw.disk.ring(0);
        let references: Vec<_> = ring
            .into_iter()
            .flat_map(|ring| ring.references())
            .collect();
        for reference in references {
            host.grants.write(reference, GrantEntryV1::default());
        }
        let page = raw.disk.page()?;
        raw.put(&read(1, 0, page.reference()));
        raw.show();
        Ok(Vec::from([page]))
    }),
    ("states-backwards", |host, raw| {
        let device = raw.disk.device().clone();
        for state in [3, 1, 4, 2, 8, 0, 4, 3] {
            let state = XenbusState::from_number(state).unwrap_or(XenbusState::Unknown);
            device.switch(&mut host.store, state)?;
        }
        Ok(Vec::new())
    }),
];

/// Runs all of them, or the one that `attack=NAME` names.
pub(super) fn run(host: &mut Host) -> Result<String, Failed> {
    let alarm = Alarm::new()?;
    let only = host.start.argument("attack");
    for (name, attack) in ATTACKS {
        if only.is_some_and(|only| only != *name) {
            continue;
        }
        let reaction = perform(host, &alarm, *attack).map_err(|Failed(why)| {
            let words: String = format!("{name}: {why}");
            Failed(words)
        })?;
        println!("attack {name} done: {reaction:?}");
    }
    if only.is_none_or(|only| only == "bad-nodes") {
        bad_nodes(host)?;
        println!("attack bad-nodes done");
    }
    let mut disk = host.connect()?;
    let mut bytes = [0; 4096];
    disk.read(0, &mut bytes)?;
    disk.close(&mut host.store)?;
    Ok(format!("lingering={}", host.grants.lingering()))
}

/// One attack on a connection of its own.
fn perform(host: &mut Host, alarm: &Alarm, attack: Attack) -> Result<Reaction, Failed> {
    let mut raw = Raw::new(host.connect()?);
    let pages = attack(host, &mut raw)?;
    let reaction = raw.watch(host, alarm)?;
    raw.disk.close(&mut host.store)?;
    drop(pages);
    Ok(reaction)
}

/// Changes a request over and over while the backend looks at it.
fn changed_request(_: &mut Host, raw: &mut Raw) -> Result<Vec<Grant>, Failed> {
    let page = raw.disk.page()?;
    (0..32).for_each(|id| raw.put(&read(id, 0, page.reference())));
    raw.show();
    let good = read(1, 0, page.reference());
    let mut bad = read(1, u64::MAX, GrantRef::new(u32::MAX));
    bad.nr_segments = 255;
    bad.operation = BlkOperation::Indirect.number();
    for round in 0..2000 {
        let message = if round % 2 == 0 { &bad } else { &good };
        let Some(ring) = raw.disk.ring(0) else { break };
        for slot in 0..32 {
            ring.bytes().write(64 + slot * 112, message.as_bytes());
        }
        frontends::sched::yield_now();
    }
    Ok(Vec::from([page]))
}

/// Rounds of requests whose answers nobody reads.
fn flood(_: &mut Host, raw: &mut Raw) -> Result<Vec<Grant>, Failed> {
    let page = raw.disk.page()?;
    for _ in 0..64 {
        let before = raw.answered();
        (0..32).for_each(|id| raw.put(&read(id, 0, page.reference())));
        raw.show();
        for _ in 0..10_000 {
            if raw.answered().wrapping_sub(before) >= 32 {
                break;
            }
            frontends::sched::yield_now();
        }
    }
    Ok(Vec::from([page]))
}

/// Indirect requests: nested, too long, with segments that nobody granted.
fn indirect(_: &mut Host, raw: &mut Raw) -> Result<Vec<Grant>, Failed> {
    let table = raw.disk.page()?;
    table.fill(0, 4096, 0xff);
    let shapes = [
        (BlkOperation::Indirect.number(), 1, table.reference()),
        (BlkOperation::Read.number(), u16::MAX, table.reference()),
        (BlkOperation::Read.number(), 0, table.reference()),
        (BlkOperation::Read.number(), 20, table.reference()),
        (BlkOperation::Read.number(), 20, GrantRef::new(u32::MAX)),
        (BlkOperation::Discard.number(), 20, table.reference()),
    ];
    for (indirect_op, nr_segments, gref) in shapes {
        let mut request = IndirectRequest {
            operation: BlkOperation::Indirect.number(),
            indirect_op,
            nr_segments,
            id: 1,
            ..IndirectRequest::default()
        };
        request.indirect_grefs[0] = gref;
        raw.put(&request);
    }
    raw.show();
    Ok(Vec::from([table]))
}

/// Nodes of nonsense in place of rings and ports.
fn bad_nodes(host: &mut Host) -> Result<(), Failed> {
    const SETS: &[&[(&str, &str)]] = &[
        &[("ring-ref", "-1"), ("event-channel", "x")],
        &[("ring-ref", "99999999999999999999"), ("event-channel", "1")],
        &[("ring-ref", "8"), ("event-channel", "4095")],
        &[
            ("ring-page-order", "99"),
            ("ring-ref0", "8"),
            ("event-channel", "1"),
        ],
        &[("multi-queue-num-queues", "4000000000")],
        &[("multi-queue-num-queues", "0")],
        &[
            ("protocol", "x86_32-abi"),
            ("ring-ref", "8"),
            ("event-channel", "1"),
        ],
    ];
    for nodes in SETS {
        let device = Device::open(&mut host.store, "vbd", host.id)?;
        device.wait_for_offer(&mut host.store)?;
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(key, value)| (String::from(*key), String::from(*value)))
            .collect();
        device.publish(&mut host.store, &nodes, XenbusState::Initialised)?;
        if device.wait_for_connection(&mut host.store).is_ok() {
            return Err(Failed(format!("the backend connected to {nodes:?}")));
        }
        device.begin_close(&mut host.store)?;
        device.end_close(&mut host.store)?;
        for (key, _) in &nodes {
            let path = format!("{}/{key}", device.token());
            host.store.remove(Transaction::NONE, &path)?;
        }
        device.forget(&mut host.store)?;
    }
    Ok(())
}
