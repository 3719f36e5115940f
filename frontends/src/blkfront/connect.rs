//! The handshake: what the backend can do, what we use of it, and the rings.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use guest_abi::io::blkif::{
    MAX_SEGMENTS_PER_REQUEST, SECTOR_SIZE, SEGMENTS_PER_INDIRECT_PAGE, VDISK_READONLY,
};

use super::{
    Features, Geometry, Options,
    queue::{Queue, SLOT},
};
use crate::{
    channel::Channel,
    grants::GrantTable,
    ring::FrontRing,
    xenbus::{Device, DeviceError, Store, XenbusState},
};

/// The most pages a ring may have, as a power of two.
const MAX_RING_ORDER: u32 = 4;
/// The most queues that make sense.
const MAX_QUEUES: u16 = 16;

/// What both ends agree on before there are rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) queues: u16,
    pub(super) ring_order: u32,
    pub(super) max_segments: usize,
    pub(super) persistent: bool,
    /// Whether the backend knows of queues at all.
    multi_queue: bool,
}

/// A ring and the port by which its ends wake each other.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: Queue,
    pub(super) channel: Channel,
}

/// Reads the backend's offer, and takes of it what the kernel wants.
pub(super) fn negotiate(
    store: &mut impl Store,
    device: &Device,
    options: &Options,
) -> Result<Terms, DeviceError> {
    let queues: Option<u16> = device.back(store, "multi-queue-max-queues")?;
    let order: Option<u32> = device.back(store, "max-ring-page-order")?;
    let indirect: Option<usize> = device.back(store, "feature-max-indirect-segments")?;
    let most = options.max_segments.min(SEGMENTS_PER_INDIRECT_PAGE);
    let indirect = indirect.unwrap_or(0).min(most);
    Ok(Terms {
        queues: options.queues.min(queues.unwrap_or(1)).clamp(1, MAX_QUEUES),
        ring_order: options
            .ring_order
            .min(order.unwrap_or(0))
            .min(MAX_RING_ORDER),
        max_segments: indirect.max(MAX_SEGMENTS_PER_REQUEST),
        persistent: options.persistent,
        multi_queue: queues.is_some(),
    })
}

/// Makes the rings.
pub(super) fn lanes(
    grants: &GrantTable,
    device: &Device,
    handle: u16,
    terms: &Terms,
) -> Result<Vec<Lane>, DeviceError> {
    let backend = device.back_domain();
    (0..terms.queues)
        .map(|number| {
            let ring = FrontRing::new(grants, backend, terms.ring_order, SLOT)?;
            Ok(Lane {
                queue: Queue::new(ring, number, handle),
                channel: Channel::open(backend)?,
            })
        })
        .collect()
}

/// Where one lane's ring and port are.
pub(super) struct Address {
    pub(super) references: Vec<u32>,
    pub(super) port: u32,
}

impl Lane {
    pub(super) fn address(&self) -> Address {
        Address {
            references: self.queue.ring().references().map(|r| r.get()).collect(),
            port: self.channel.port().get(),
        }
    }
}

/// The nodes that tell the backend where the rings are.
pub(super) fn nodes(terms: &Terms, lanes: &[Address]) -> Vec<(String, String)> {
    let mut nodes = Vec::new();
    let mut add = |key: String, value: &dyn ToString| nodes.push((key, value.to_string()));
    if terms.multi_queue {
        add("multi-queue-num-queues".into(), &terms.queues);
    }
    if terms.ring_order > 0 {
        add("ring-page-order".into(), &terms.ring_order);
    }
    for (number, lane) in lanes.iter().enumerate() {
        let folder = match lanes.len() {
            1 => String::new(),
            _ => format!("queue-{number}/"),
        };
        for (index, reference) in lane.references.iter().enumerate() {
            let key = match lane.references.len() {
                1 => format!("{folder}ring-ref"),
                _ => format!("{folder}ring-ref{index}"),
            };
            add(key, reference);
        }
        add(format!("{folder}event-channel"), &lane.port);
    }
    add("protocol".into(), &"x86_64-abi");
    add("feature-persistent".into(), &u32::from(terms.persistent));
    nodes
}

/// Offers the rings, waits for the backend, and reads what disk it is.
pub(super) fn introduce(
    store: &mut impl Store,
    device: &Device,
    terms: &Terms,
    lanes: &[Address],
) -> Result<Geometry, DeviceError> {
    device.publish(store, &nodes(terms, lanes), XenbusState::Initialised)?;
    device.wait_for_connection(store)?;
    let geometry = geometry(store, device, terms)?;
    device.switch(store, XenbusState::Connected)?;
    Ok(geometry)
}

/// What disk it is.
fn geometry(
    store: &mut impl Store,
    device: &Device,
    terms: &Terms,
) -> Result<Geometry, DeviceError> {
    let sector_size: u32 = device.back_must(store, "sector-size")?;
    let possible = sector_size.is_power_of_two() && sector_size as usize >= SECTOR_SIZE;
    if !possible {
        return Err(DeviceError::Missing("sector-size"));
    }
    let info: u32 = device.back_must(store, "info")?;
    let features = Features {
        flush: device.back_flag(store, "feature-flush-cache")?,
        barrier: device.back_flag(store, "feature-barrier")?,
        discard: device.back_flag(store, "feature-discard")?,
        discard_secure: device.back_flag(store, "discard-secure")?,
        persistent: device.back_flag(store, "feature-persistent")? && terms.persistent,
    };
    let physical = device.back(store, "physical-sector-size")?;
    Ok(Geometry {
        sectors: device.back_must(store, "sectors")?,
        sector_size,
        physical_sector_size: physical.unwrap_or(sector_size),
        read_only: info & VDISK_READONLY != 0,
        max_segments: terms.max_segments,
        features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenbus::fake::FakeStore;

    fn store() -> FakeStore {
        FakeStore::new(&[
            ("device/vbd/768/backend", "/b"),
            ("device/vbd/768/backend-id", "0"),
            ("device/vbd/768/state", "1"),
            ("/b/state", "2"),
        ])
    }

    fn lane(references: &[u32], port: u32) -> Address {
        Address {
            references: references.to_vec(),
            port,
        }
    }

    fn terms(store: &mut FakeStore) -> Terms {
        let device = Device::open(store, "vbd", 768).unwrap();
        negotiate(store, &device, &Options::default()).unwrap()
    }

    #[test]
    fn a_backend_that_offers_nothing_gets_the_least() {
        let terms = terms(&mut store());
        assert_eq!((terms.queues, terms.ring_order), (1, 0));
        assert_eq!(terms.max_segments, 11);
        let nodes = nodes(&terms, &[lane(&[8], 5)]);
        let keys: Vec<_> = nodes.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "ring-ref",
                "event-channel",
                "protocol",
                "feature-persistent"
            ]
        );
    }

    #[test]
    fn the_smaller_of_offer_and_wish_is_taken() {
        let mut store = store();
        store.write(&[
            ("/b/multi-queue-max-queues", "8"),
            ("/b/max-ring-page-order", "1"),
            ("/b/feature-max-indirect-segments", "4000000000"),
        ]);
        let device = Device::open(&mut store, "vbd", 768).unwrap();
        let wish = Options {
            queues: 2,
            ring_order: 2,
            ..Options::default()
        };
        let terms = negotiate(&mut store, &device, &wish).unwrap();
        assert_eq!((terms.queues, terms.ring_order), (2, 1));
        assert_eq!(terms.max_segments, wish.max_segments);
        let nodes = nodes(&terms, &[lane(&[8, 9], 5), lane(&[10, 11], 6)]);
        assert!(nodes.contains(&("multi-queue-num-queues".into(), "2".into())));
        assert!(nodes.contains(&("queue-1/ring-ref1".into(), "11".into())));
        assert!(nodes.contains(&("queue-0/event-channel".into(), "5".into())));
    }

    #[test]
    fn the_disk_is_what_the_connected_backend_says() {
        let mut store = store();
        let device = Device::open(&mut store, "vbd", 768).unwrap();
        let terms = terms(&mut store);
        store.script.push_back(vec![
            ("/b/sectors", "2048"),
            ("/b/sector-size", "4096"),
            ("/b/info", "4"),
            ("/b/feature-flush-cache", "1"),
            ("/b/state", "4"),
        ]);
        let disk = introduce(&mut store, &device, &terms, &[lane(&[8], 5)]).unwrap();
        assert_eq!((disk.sectors, disk.sector_size), (2048, 4096));
        assert!(disk.read_only && disk.features.flush && !disk.features.discard);
        assert_eq!(store.nodes["device/vbd/768/state"], "4");
    }

    #[test]
    fn a_disk_without_a_size_is_refused() {
        let mut store = store();
        let device = Device::open(&mut store, "vbd", 768).unwrap();
        let terms = terms(&mut store);
        store.write(&[
            ("/b/state", "4"),
            ("/b/sector-size", "512"),
            ("/b/info", "0"),
        ]);
        let refused = introduce(&mut store, &device, &terms, &[lane(&[8], 5)]);
        assert_eq!(refused, Err(DeviceError::Missing("sectors")));
        store.write(&[("/b/sectors", "8"), ("/b/sector-size", "100")]);
        let refused = introduce(&mut store, &device, &terms, &[lane(&[8], 5)]);
        assert_eq!(refused, Err(DeviceError::Missing("sector-size")));
    }
}
