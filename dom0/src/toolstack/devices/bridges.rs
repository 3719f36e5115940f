//! Bridges by name: each is a switch, made when the first network wants it.
//!
//! `xenbrN` has the card `ethN` as its uplink; a bridge of any other name has none, and goes with
//! its last network. The default bridge stays.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use core::cell::RefCell;
use core::fmt;

use backends::host::{Host, Nic};
use backends::netback::Switch;

use crate::config::DEFAULT_BRIDGE;
use crate::devices::Devices;
use crate::executor::Runtime;

/// What the names of bridges with an uplink begin with.
const WITH_UPLINK: &str = "xenbr";

/// The bridges of a host.
pub(crate) struct Bridges {
    runtime: Runtime,
    host: Rc<dyn Host>,
    devices: Rc<Devices>,
    switches: RefCell<BTreeMap<String, Weak<Switch>>>,
    default: RefCell<Option<Rc<Switch>>>,
}

impl fmt::Debug for Bridges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.switches.borrow().keys())
            .finish()
    }
}

impl Bridges {
    /// No bridges yet.
    pub(crate) fn new(runtime: &Runtime, host: Rc<dyn Host>, devices: Rc<Devices>) -> Self {
        Self {
            runtime: runtime.clone(),
            host,
            devices,
            switches: RefCell::default(),
            default: RefCell::default(),
        }
    }

    /// The bridge of this name, made if there is none.
    ///
    /// # Errors
    ///
    /// When it wants a card that the host doesn't have.
    pub(super) fn find(&self, name: &str) -> Result<Rc<Switch>, String> {
        let mut switches = self.switches.borrow_mut();
        switches.retain(|_, switch| switch.strong_count() > 0);
        if let Some(switch) = switches.get(name).and_then(Weak::upgrade) {
            return Ok(switch);
        }
        let switch = Switch::new(name);
        match self.card(name) {
            Card::Is(nic) => {
                // It ends with the switch.
                let uplink = switch.attach_uplink(self.host.clone(), nic);
                self.runtime.spawn(uplink);
            }
            Card::Missing if name == DEFAULT_BRIDGE => {
                log::warn!("bridge {name}: there is no card; its guests reach only each other");
            }
            Card::Missing => {
                return Err(format!(
                    "bridge {name} wants a card eth{}, which there is none of; use {DEFAULT_BRIDGE}, \
                     or a name without {WITH_UPLINK} for a network of guests only",
                    name.trim_start_matches(WITH_UPLINK)
                ));
            }
            Card::None => {}
        }
        switches.insert(name.into(), Rc::downgrade(&switch));
        if name == DEFAULT_BRIDGE {
            *self.default.borrow_mut() = Some(switch.clone());
        }
        Ok(switch)
    }

    /// The card that a bridge's name asks for.
    fn card(&self, name: &str) -> Card {
        let number = name.strip_prefix(WITH_UPLINK).map(str::parse::<u32>);
        match number {
            Some(Ok(number)) => match self.devices.nic(&format!("eth{number}")) {
                Some(nic) => Card::Is(nic),
                None => Card::Missing,
            },
            _ => Card::None,
        }
    }
}

/// What a bridge has as its uplink.
enum Card {
    Is(Rc<dyn Nic>),
    Missing,
    None,
}
