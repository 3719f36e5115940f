//! Interrupts of PCI devices, as event channels.
//!
//! A message (MSI-X) belongs to one device. A line may be shared: its event calls every device on
//! it, each of which makes its own let go of the line, and then the hypervisor is told that it may
//! come again.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use frontends::arch::hypercall;
use frontends::events;
use guest_abi::ids::DomIdArg;
use guest_abi::physdev::{Eoi, MapPirq, MapPirqType, PhysdevOp};
use guest_abi::{Errno, Hypercall, Port};

use crate::executor::Runtime;

/// What a device does when it has interrupted.
type Handler = Box<dyn Fn()>;

/// An interrupt line, and the devices on it.
pub struct Line {
    pirq: u32,
    port: Port,
    handlers: RefCell<Vec<Handler>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("pirq", &self.pirq).finish()
    }
}

impl Line {
    /// Binds the line of a global system interrupt.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    pub(super) fn bind(gsi: u32) -> Result<Rc<Self>, Errno> {
        let mut map = MapPirq {
            domid: DomIdArg::SELF,
            kind: MapPirqType::Gsi.number(),
            index: i32::try_from(gsi).map_err(|_| Errno::EINVAL)?,
            pirq: -1,
            ..MapPirq::default()
        };
        physdev(PhysdevOp::MapPirq, &mut map)?;
        let pirq = u32::try_from(map.pirq).map_err(|_| Errno::EINVAL)?;
        Ok(Rc::new(Self {
            pirq,
            port: events::bind_pirq(pirq)?,
            handlers: RefCell::default(),
        }))
    }

    /// Calls the devices at each interrupt.
    async fn serve(self: Rc<Self>, runtime: Runtime) {
        let port = runtime.listen(self.port);
        loop {
            port.wait().await;
            for handler in &*self.handlers.borrow() {
                handler();
            }
            let ended = physdev(PhysdevOp::Eoi, &mut Eoi { irq: self.pirq });
            if let Err(errno) = ended {
                log::error!("interrupt line {}: {}", self.pirq, errno.name());
            }
        }
    }
}

/// How a device's interrupt gets here.
#[derive(Debug)]
pub enum Route {
    /// By message.
    Message(Port),
    /// By a line that it may share.
    Line(Rc<Line>),
}

impl Route {
    /// Whether the device must be asked to let go of its line at each interrupt.
    #[must_use]
    pub fn is_line(&self) -> bool {
        matches!(self, Self::Line(_))
    }

    /// Calls `handler` at each interrupt, for good.
    pub fn deliver(self, runtime: &Runtime, handler: impl Fn() + 'static) {
        match self {
            Self::Message(port) => {
                let port = runtime.listen(port);
                runtime.spawn(async move {
                    loop {
                        port.wait().await;
                        handler();
                    }
                });
            }
            Self::Line(line) => {
                let mut handlers = line.handlers.borrow_mut();
                handlers.push(Box::new(handler));
                if handlers.len() == 1 {
                    runtime.spawn(line.clone().serve(runtime.clone()));
                }
            }
        }
    }
}

/// The global system interrupt behind pin `pin` (1 for INTA#) of a device on bus 0 of an ICH9, as
/// its registers are after reset and as QEMU's `q35` leaves them: the devices of the chipset itself
/// (25 to 29 and 31) take PIRQA to PIRQD, all others PIRQE to PIRQH by turns, and PIRQA is line 16.
#[must_use]
pub fn ich9_line(device: u8, pin: u8) -> Option<u32> {
    let pin = u32::from(pin.checked_sub(1).filter(|pin| *pin < 4)?);
    Some(match device {
        25..=29 | 31 => 16 + pin,
        // The bridge to PCI.
        30 => 20 + pin,
        _ => 20 + (u32::from(device) + pin) % 4,
    })
}

pub(super) fn physdev<T: hypercall::Plain>(op: PhysdevOp, arg: &mut T) -> Result<(), Errno> {
    hypercall::command(Hypercall::PhysdevOp, op.number(), arg).map(drop)
}

#[cfg(test)]
mod tests {
    use super::ich9_line;

    #[test]
    fn pins_are_wired_by_turns() {
        assert_eq!(ich9_line(0, 1), Some(20));
        assert_eq!(ich9_line(3, 1), Some(23));
        assert_eq!(ich9_line(3, 2), Some(20));
        assert_eq!(ich9_line(4, 4), Some(23));
    }

    #[test]
    fn the_chipsets_own_devices_have_the_lower_lines() {
        assert_eq!(ich9_line(31, 1), Some(16));
        assert_eq!(ich9_line(25, 4), Some(19));
        assert_eq!(ich9_line(30, 2), Some(21));
    }

    #[test]
    fn a_device_without_pin_has_no_line() {
        assert_eq!(ich9_line(3, 0), None);
        assert_eq!(ich9_line(3, 5), None);
    }
}
