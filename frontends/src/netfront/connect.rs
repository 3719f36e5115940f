//! The handshake of a network device.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    Features, Link, Options,
    rx::{self, RxQueue},
    tx::{self, TxQueue},
};
use crate::{
    channel::Channel,
    grants::GrantTable,
    ring::FrontRing,
    xenbus::{Device, DeviceError, Store, XenbusState},
};

/// The most queues that make sense.
const MAX_QUEUES: u16 = 8;

/// What both ends agree on before there are rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    queues: u16,
    multi_queue: bool,
    split_channels: bool,
    pub(super) link: Link,
}

/// Two rings and the ports by which their ends wake each other.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) tx: TxQueue,
    pub(super) rx: RxQueue,
    pub(super) tx_channel: Channel,
    /// `None`: the same as for sending.
    pub(super) rx_channel: Option<Channel>,
}

impl Lane {
    pub(super) fn rx_channel(&self) -> &Channel {
        self.rx_channel.as_ref().unwrap_or(&self.tx_channel)
    }
}

/// Reads what the toolstack has set and the backend offers.
pub(super) fn negotiate(
    store: &mut impl Store,
    device: &Device,
    options: &Options,
) -> Result<Terms, DeviceError> {
    if !device.back_flag(store, "feature-rx-copy")? {
        return Err(DeviceError::Missing("feature-rx-copy"));
    }
    let mac = device.front(store, "mac")?;
    let mac = mac.and_then(|text| parse_mac(&text));
    let mtu = device.front(store, "mtu")?;
    let mtu = mtu.and_then(|text| text.parse().ok()).unwrap_or(1500_u16);
    let queues: Option<u16> = device.back(store, "multi-queue-max-queues")?;
    let scatter = device.back_flag(store, "feature-sg")?;
    let features = Features {
        scatter,
        gso_ipv4: scatter && device.back_flag(store, "feature-gso-tcpv4")?,
        gso_ipv6: scatter && device.back_flag(store, "feature-gso-tcpv6")?,
        checksum_ipv6: device.back_flag(store, "feature-ipv6-csum-offload")?,
    };
    Ok(Terms {
        queues: options.queues.min(queues.unwrap_or(1)).clamp(1, MAX_QUEUES),
        multi_queue: queues.is_some(),
        split_channels: device.back_flag(store, "feature-split-event-channels")?,
        link: Link {
            mac: mac.ok_or(DeviceError::Missing("mac"))?,
            mtu,
            features,
        },
    })
}

/// Six bytes with colons between them.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Makes the rings.
pub(super) fn lanes(
    grants: &GrantTable,
    device: &Device,
    terms: &Terms,
) -> Result<Vec<Lane>, DeviceError> {
    let backend = device.back_domain();
    (0..terms.queues)
        .map(|_| {
            let tx = FrontRing::new(grants, backend, 0, tx::SLOT)?;
            let rx = FrontRing::new(grants, backend, 0, rx::SLOT)?;
            let rx_channel = match terms.split_channels {
                true => Some(Channel::open(backend)?),
                false => None,
            };
            Ok(Lane {
                tx: TxQueue::new(tx, grants, backend)?,
                rx: RxQueue::new(rx, grants, backend)?,
                tx_channel: Channel::open(backend)?,
                rx_channel,
            })
        })
        .collect()
}

/// Where one lane's rings and ports are.
#[derive(Clone, Copy)]
pub(super) struct Address {
    pub(super) tx_ring: u32,
    pub(super) rx_ring: u32,
    pub(super) tx_port: u32,
    pub(super) rx_port: u32,
}

impl Lane {
    pub(super) fn address(&self) -> Address {
        let first = |ring: &FrontRing| ring.references().next().map_or(0, |r| r.get());
        Address {
            tx_ring: first(&self.tx.ring),
            rx_ring: first(&self.rx.ring),
            tx_port: self.tx_channel.port().get(),
            rx_port: self.rx_channel().port().get(),
        }
    }
}

/// The nodes that tell the backend where the rings are, and what we can take.
pub(super) fn nodes(terms: &Terms, options: &Options, lanes: &[Address]) -> Vec<(String, String)> {
    let mut nodes = Vec::new();
    let mut add = |key: String, value: u32| nodes.push((key, value.to_string()));
    if terms.multi_queue {
        add("multi-queue-num-queues".into(), terms.queues.into());
    }
    for (number, lane) in lanes.iter().enumerate() {
        let folder = match lanes.len() {
            1 => String::new(),
            _ => format!("queue-{number}/"),
        };
        add(format!("{folder}tx-ring-ref"), lane.tx_ring);
        add(format!("{folder}rx-ring-ref"), lane.rx_ring);
        if terms.split_channels {
            add(format!("{folder}event-channel-tx"), lane.tx_port);
            add(format!("{folder}event-channel-rx"), lane.rx_port);
        } else {
            add(format!("{folder}event-channel"), lane.tx_port);
        }
    }
    let large = u32::from(options.large_frames);
    for (key, value) in [
        ("request-rx-copy", 1),
        ("feature-rx-notify", 1),
        ("feature-sg", large),
        ("feature-gso-tcpv4", large),
        ("feature-gso-tcpv6", large),
        ("feature-ipv6-csum-offload", 1),
    ] {
        add(key.into(), value);
    }
    nodes
}

/// Offers the rings and waits for the backend.
pub(super) fn introduce(
    store: &mut impl Store,
    device: &Device,
    nodes: &[(String, String)],
) -> Result<(), DeviceError> {
    device.publish(store, nodes, XenbusState::Connected)?;
    device.wait_for_connection(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenbus::fake::FakeStore;

    fn store() -> FakeStore {
        FakeStore::new(&[
            ("device/vif/0/backend", "/b"),
            ("device/vif/0/backend-id", "0"),
            ("device/vif/0/state", "1"),
            ("device/vif/0/mac", "00:16:3e:00:0a:ff"),
            ("/b/state", "2"),
            ("/b/feature-rx-copy", "1"),
        ])
    }

    fn terms(store: &mut FakeStore) -> Result<Terms, DeviceError> {
        let device = Device::open(store, "vif", 0).unwrap();
        negotiate(store, &device, &Options::default())
    }

    const LANE: Address = Address {
        tx_ring: 8,
        rx_ring: 9,
        tx_port: 5,
        rx_port: 6,
    };

    #[test]
    fn the_least_backend_gets_one_queue_and_one_port() {
        let terms = terms(&mut store()).unwrap();
        assert_eq!(terms.link.mac, [0, 0x16, 0x3e, 0, 0x0a, 0xff]);
        assert_eq!((terms.link.mtu, terms.queues), (1500, 1));
        let nodes = nodes(&terms, &Options::default(), &[LANE]);
        assert!(nodes.contains(&("event-channel".into(), "5".into())));
        assert!(!nodes.iter().any(|(key, _)| key.starts_with("multi")));
    }

    #[test]
    fn a_backend_that_cannot_copy_is_refused() {
        let mut store = store();
        store.write(&[("/b/feature-rx-copy", "0")]);
        assert_eq!(
            terms(&mut store),
            Err(DeviceError::Missing("feature-rx-copy"))
        );
    }

    #[test]
    fn a_card_without_an_address_is_refused() {
        for bad in ["", "00:16:3e:00:00", "00:16:3e:00:00:00:00", "x"] {
            let mut store = store();
            store.write(&[("device/vif/0/mac", bad)]);
            assert_eq!(terms(&mut store), Err(DeviceError::Missing("mac")));
        }
    }

    #[test]
    fn several_queues_have_folders() {
        let mut store = store();
        store.write(&[
            ("/b/multi-queue-max-queues", "4"),
            ("/b/feature-split-event-channels", "1"),
        ]);
        let device = Device::open(&mut store, "vif", 0).unwrap();
        let options = Options {
            queues: 2,
            ..Options::default()
        };
        let terms = negotiate(&mut store, &device, &options).unwrap();
        let nodes = nodes(&terms, &options, &[LANE, LANE]);
        assert!(nodes.contains(&("multi-queue-num-queues".into(), "2".into())));
        assert!(nodes.contains(&("queue-1/event-channel-rx".into(), "6".into())));
    }
}
