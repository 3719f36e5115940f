//! What a frontend says of its rings, and making them ours.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;

use guest_abi::Port;
use guest_abi::ids::GrantRef;
use guest_abi::io::ring::Overrun;

use super::grants::Grants;
use super::queue::Queue;
use super::ring::BlkRing;
use super::serve::Connection;
use super::{Blkback, Options};
use crate::host::{Access, Geometry};
use crate::xenbus::{Device, Refusal};
use crate::xenstore::Error;

/// The layout of requests that 64-bit frontends use, by its name.
const PROTOCOL: &str = "x86_64-abi";

/// Tells the frontend what there is.
pub(super) fn offer(device: &Device, options: &Options, geometry: &Geometry) -> Result<(), Error> {
    let flag = |set: bool| u8::from(set);
    let writable = options.writable(geometry);
    let mut nodes: Vec<(&str, &dyn Display)> = Vec::new();
    let (persistent, flushes) = (flag(options.persistent_grants), flag(writable));
    nodes.push(("feature-persistent", &persistent));
    nodes.push((
        "feature-max-indirect-segments",
        &options.max_indirect_segments,
    ));
    nodes.push(("multi-queue-max-queues", &options.max_queues));
    nodes.push(("max-ring-page-order", &options.max_ring_page_order));
    nodes.push(("feature-barrier", &flushes));
    nodes.push(("feature-flush-cache", &flushes));
    let granularity = options.discard_granularity(geometry);
    let discard = flag(granularity.is_some());
    nodes.push(("feature-discard", &discard));
    if let Some(granularity) = &granularity {
        nodes.push(("discard-granularity", granularity));
        nodes.push(("discard-alignment", &0));
        nodes.push(("discard-secure", &0));
    }
    device.write(&nodes)
}

/// Tells the frontend about the disk, which it reads once we are connected.
pub(super) fn describe(
    device: &Device,
    options: &Options,
    geometry: &Geometry,
) -> Result<(), Error> {
    device.write(&[
        ("sectors", &geometry.sectors),
        ("info", &options.info(geometry)),
        ("sector-size", &geometry.sector_size),
        ("physical-sector-size", &geometry.physical_sector_size),
    ])
}

/// Maps the frontend's rings and binds its channels.
pub(super) fn connect(device: &Device, blkback: &Blkback) -> Result<Connection, Refusal> {
    let options = &blkback.options;
    match device.front("protocol") {
        Some(name) if name != PROTOCOL => {
            let name: String = name.chars().take(32).collect();
            return Err(Refusal::new(format!(
                "protocol {name:?} instead of {PROTOCOL}"
            )));
        }
        _ => {}
    }
    let persistent = options.persistent_grants && device.front_flag("feature-persistent");
    let count = within(device, "multi-queue-num-queues", 1..=options.max_queues)?.unwrap_or(1);
    let order = within(device, "ring-page-order", 0..=options.max_ring_page_order)?;
    let host = device.host();
    let needs_bytes = blkback.disk.needs_bytes();
    let queues = (0..count).map(|index| {
        let folder = match count {
            1 => String::new(),
            _ => format!("queue-{index}/"),
        };
        let grants = Grants::new(host.clone(), device.domain(), persistent, needs_bytes);
        queue(device, &folder, order.unwrap_or(0), grants)
    });
    Ok(Connection {
        host: host.clone(),
        name: device.to_string(),
        queues: queues.collect::<Result<_, Refusal>>()?,
    })
}

fn queue(device: &Device, folder: &str, order: u32, grants: Grants) -> Result<Queue, Refusal> {
    let (host, domain) = (device.host(), device.domain());
    let pages = ring_grants(device, folder, order)?;
    let memory = host.map_grants(domain, &pages, Access::ReadWrite);
    let memory = memory.map_err(|refused| {
        let grant = pages.get(refused.index).copied().unwrap_or_default();
        Refusal::new(format!("{folder}ring-ref {grant}: {:?}", refused.status))
    })?;
    let ring = BlkRing::attach(memory).map_err(|Overrun { claimed, possible }| {
        Refusal::new(format!(
            "{folder}ring claims {claimed} requests where {possible} are possible"
        ))
    })?;
    let port: u32 = required(device, &format!("{folder}event-channel"))?;
    let channel = host
        .bind(domain, Port::new(port))
        .map_err(|errno| Refusal::new(format!("{folder}event-channel {port}: {}", errno.name())))?;
    Ok(Queue::new(ring, channel, grants))
}

/// The pages of a ring: `ring-ref`, or `ring-ref0`, `ring-ref1`, …
fn ring_grants(device: &Device, folder: &str, order: u32) -> Result<Vec<GrantRef>, Refusal> {
    let single = format!("{folder}ring-ref");
    if order == 0 && device.front(&single).is_some() {
        return Ok(Vec::from([GrantRef::new(required(device, &single)?)]));
    }
    let pages = 0..1_u32 << order;
    pages
        .map(|page| required(device, &format!("{single}{page}")).map(GrantRef::new))
        .collect()
}

/// A number the frontend must have written.
fn required(device: &Device, key: &str) -> Result<u32, Refusal> {
    let value = device.front_value(key);
    value.ok_or_else(|| Refusal::new(format!("{key} is missing or not a number")))
}

/// A number the frontend may have written.
fn within(
    device: &Device,
    key: &str,
    allowed: core::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, Refusal> {
    if device.front(key).is_none() {
        return Ok(None);
    }
    let value = required(device, key)?;
    if !allowed.contains(&value) {
        let (least, most) = allowed.into_inner();
        let words = format!("{key} is {value}; from {least} to {most} is possible");
        return Err(Refusal::new(words));
    }
    Ok(Some(value))
}
