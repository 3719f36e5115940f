//! A learning switch: vifs, and uplinks to cards.
//!
//! A vif speaks from its own address only, so its address is known from the start and nobody
//! else can take it; addresses behind uplinks are learnt. What is for an address that nobody
//! knows goes to the uplinks, never to a vif; what is for a group goes to everybody. Nothing
//! goes back to where it came from, nor from one uplink to another: there are no loops.

mod arrivals;
mod table;
mod uplink;

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::fmt;
use core::future::Future;

use guest_abi::Errno;

use super::scratch::Scratch;
use super::vif::Vif;
use crate::host::{Host, MacAddress, Nic};
use crate::signal::Signal;
use table::Table;
pub(super) use uplink::Uplink;

/// A port of a switch. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortId(u64);

/// Who is at a port.
#[derive(Clone)]
pub(super) enum Target {
    Vif(Rc<Vif>),
    Uplink(Rc<Uplink>),
}

/// Where a frame goes.
pub(super) enum Route {
    Nowhere,
    To(Target),
    Flood(Vec<Target>),
}

#[derive(Default)]
struct Ports {
    next: u64,
    targets: BTreeMap<PortId, Target>,
    table: Table,
}

/// A learning switch.
pub struct Switch {
    name: String,
    ports: RefCell<Ports>,
    scratch: OnceCell<Rc<RefCell<Scratch>>>,
    /// Told when the switch ends.
    ended: Rc<Signal>,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switch({})", self.name)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ended.notify();
    }
}

impl Switch {
    /// A switch without ports.
    pub fn new(name: impl Into<String>) -> Rc<Self> {
        Rc::new(Self {
            name: name.into(),
            ports: RefCell::default(),
            scratch: OnceCell::new(),
            ended: Rc::default(),
        })
    }

    /// Its name: that of the bridge.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many ports it has: connected vifs, and uplinks.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.ports.borrow().targets.len()
    }

    /// The longest packet, without its Ethernet header, that all its uplinks carry.
    #[must_use]
    pub fn mtu(&self) -> Option<u16> {
        let ports = self.ports.borrow();
        let mtu = |target: &Target| match target {
            Target::Vif(_) => None,
            Target::Uplink(uplink) => Some(uplink.mtu()),
        };
        ports.targets.values().filter_map(mtu).min()
    }

    /// Connects a card. What this returns is to run as a task: it takes what the card receives.
    /// It does not keep the switch, and ends with it; dropping it disconnects the card.
    pub fn attach_uplink(
        self: &Rc<Self>,
        host: Rc<dyn Host>,
        nic: Rc<dyn Nic>,
    ) -> impl Future<Output = ()> + use<> {
        let uplink = Rc::new(Uplink::new(nic));
        let port = self.add(Target::Uplink(uplink.clone()));
        uplink::Attached::new(self, port).run(host, uplink)
    }

    /// Connects a vif.
    ///
    /// # Errors
    ///
    /// When another one has its address.
    pub(super) fn add_vif(&self, vif: &Rc<Vif>, mac: MacAddress) -> Result<PortId, MacAddress> {
        let port = self.add(Target::Vif(vif.clone()));
        if self.ports.borrow_mut().table.own(mac, port) {
            Ok(port)
        } else {
            self.remove(port);
            Err(mac)
        }
    }

    fn add(&self, target: Target) -> PortId {
        let mut ports = self.ports.borrow_mut();
        let port = PortId(ports.next);
        ports.next += 1;
        ports.targets.insert(port, target);
        port
    }

    pub(super) fn remove(&self, port: PortId) {
        let mut ports = self.ports.borrow_mut();
        ports.table.remove_port(port);
        let gone = ports.targets.remove(&port);
        // Whatever its end brings about may look at the ports.
        drop(ports);
        drop(gone);
    }

    /// The vifs that are connected.
    pub(super) fn vifs(&self) -> Vec<Rc<Vif>> {
        let ports = self.ports.borrow();
        let vif = |target: &Target| match target {
            Target::Vif(vif) => Some(vif.clone()),
            Target::Uplink(_) => None,
        };
        ports.targets.values().filter_map(vif).collect()
    }

    /// What the passes of its vifs work with.
    pub(super) fn scratch(&self, host: &dyn Host) -> Result<Rc<RefCell<Scratch>>, Errno> {
        if let Some(scratch) = self.scratch.get() {
            return Ok(scratch.clone());
        }
        let scratch = Rc::new(RefCell::new(Scratch::new(host)?));
        Ok(self.scratch.get_or_init(|| scratch).clone())
    }

    /// A frame came in through a port: its source lives there, if that is possible.
    fn learn(&self, port: PortId, source: MacAddress, now: u64) -> bool {
        self.ports.borrow_mut().table.learn(source, port, now)
    }

    /// Where a frame from a port goes.
    pub(super) fn route(&self, from: PortId, dest: MacAddress, now: u64) -> Route {
        let ports = self.ports.borrow();
        let outside = || matches!(ports.targets.get(&from), Some(Target::Uplink(_)));
        if !dest.is_group()
            && let Some(port) = ports.table.find(dest, now)
        {
            return match ports.targets.get(&port) {
                Some(Target::Uplink(_)) if outside() => Route::Nowhere,
                Some(target) if port != from => Route::To(target.clone()),
                _ => Route::Nowhere,
            };
        }
        // These are for the bridge itself.
        if matches!(dest.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]) {
            return Route::Nowhere;
        }
        let outside = outside();
        let takes = |target: &Target| match target {
            Target::Vif(_) => dest.is_group(),
            Target::Uplink(_) => !outside,
        };
        let targets = ports
            .targets
            .iter()
            .filter(|(port, target)| **port != from && takes(target));
        Route::Flood(targets.map(|(_, target)| target.clone()).collect())
    }
}
