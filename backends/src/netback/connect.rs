//! What both ends tell each other through the store before the rings are used.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use guest_abi::ids::GrantRef;
use guest_abi::{DomId, Port};

use super::offload::Abilities;
use super::options::Options;
use super::pool::Pool;
use super::rate::Bucket;
use super::ring::Ring;
use super::rx::RxQueue;
use super::spoof::Identity;
use super::stats::Counters;
use super::switch::Switch;
use super::tx::TxQueue;
use super::vif::{Queue, Vif};
use crate::host::{Access, Host};
use crate::signal::Signal;
use crate::xenbus::{Device, Refusal};
use crate::xenstore::Error;

/// Writes what we can do.
pub(super) fn offer(device: &Device, options: &Options) -> Result<(), Error> {
    device.write(&[
        ("feature-sg", &1),
        ("feature-gso-tcpv4", &1),
        ("feature-gso-tcpv6", &1),
        ("feature-ipv6-csum-offload", &1),
        ("feature-rx-copy", &1),
        ("feature-rx-flip", &0),
        ("feature-split-event-channels", &1),
        ("multi-queue-max-queues", &options.max_queues.max(1)),
        ("mac", &options.mac),
        ("mtu", &options.mtu),
        ("hotplug-status", &"connected"),
    ])
}

/// Connects to a frontend, and puts it on the switch.
pub(super) fn connect(
    device: &Device,
    switch: &Rc<Switch>,
    options: &Options,
    counters: &Rc<Counters>,
) -> Result<Rc<Vif>, Refusal> {
    if !device.front_flag("request-rx-copy") {
        return Err(Refusal::new(
            "the frontend does not ask for `request-rx-copy`",
        ));
    }
    let host = device.host().clone();
    let vif = Rc::new(Vif {
        scratch: switch.scratch(&*host)?,
        switch: switch.clone(),
        port: Cell::new(None),
        domain: device.domain(),
        identity: Identity::new(options.mac, options.addresses.clone()),
        bucket: options
            .rate
            .map(|rate| RefCell::new(Bucket::new(rate, host.now()))),
        abilities: abilities(device),
        notifies: device.front_flag("feature-rx-notify"),
        queues: queues(device, options)?,
        counters: counters.clone(),
        pool: RefCell::new(Pool::new()),
        frames_held: Rc::default(),
        refusal: RefCell::default(),
        signal: Signal::default(),
        host,
    });
    let port = switch.add_vif(&vif, options.mac).map_err(|mac| {
        Refusal::new(format!(
            "another device of bridge {} has the address {mac}: give one of them another `mac=`",
            switch.name()
        ))
    })?;
    vif.port.set(Some(port));
    Ok(vif)
}

/// What the frontend takes.
fn abilities(device: &Device) -> Abilities {
    let scattered = device.front_flag("feature-sg");
    Abilities {
        scattered,
        checksum: [
            !device.front_flag("feature-no-csum-offload"),
            device.front_flag("feature-ipv6-csum-offload"),
        ],
        segmentation: [
            scattered && device.front_flag("feature-gso-tcpv4"),
            scattered && device.front_flag("feature-gso-tcpv6"),
        ],
    }
}

fn queues(device: &Device, options: &Options) -> Result<Vec<Queue>, Refusal> {
    let count = match device.front("multi-queue-num-queues") {
        None => 1,
        Some(_) => number(device, "multi-queue-num-queues")?,
    };
    if count == 0 || count > options.max_queues.max(1) {
        return Err(Refusal::new(format!(
            "the frontend wants {count} queues, of {} offered",
            options.max_queues
        )));
    }
    let prefix = |index| match count {
        1 => String::new(),
        _ => format!("queue-{index}/"),
    };
    (0..count)
        .map(|index| queue(device, &prefix(index)))
        .collect()
}

fn queue(device: &Device, prefix: &str) -> Result<Queue, Refusal> {
    let host = &**device.host();
    let domain = device.domain();
    let key = |name: &str| format!("{prefix}{name}");
    let page = |name: &str| {
        let reference = GrantRef::new(number(device, &key(name))?);
        let page = host.map_grants(domain, &[reference], Access::ReadWrite)?;
        Ok::<_, Refusal>(page)
    };
    let tx = Ring::resume(page("tx-ring-ref")?);
    let rx = Ring::resume(page("rx-ring-ref")?);
    let split = device.front(&key("event-channel-tx")).is_some();
    let bind = |name: &str| bind(device, host, domain, &key(name));
    let (tx_channel, rx_channel) = if split {
        (bind("event-channel-tx")?, Some(bind("event-channel-rx")?))
    } else {
        (bind("event-channel")?, None)
    };
    Ok(Queue {
        tx: RefCell::new(TxQueue::new(tx)),
        rx: RefCell::new(RxQueue::new(rx)),
        tx_channel,
        rx_channel,
    })
}

fn bind(
    device: &Device,
    host: &dyn Host,
    domain: DomId,
    key: &str,
) -> Result<Rc<dyn crate::host::Channel>, Refusal> {
    let port = Port::new(number(device, key)?);
    host.bind(domain, port)
        .map_err(|errno| Refusal::new(format!("`{key}`: port {port}: {}", errno.name())))
}

fn number(device: &Device, key: &str) -> Result<u32, Refusal> {
    device
        .front_value(key)
        .ok_or_else(|| Refusal::new(format!("the frontend's `{key}` is missing or no number")))
}
