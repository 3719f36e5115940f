//! The TCP/IP stack over the card, and the loop that drives it.

use alloc::{format, string::String, vec};

use frontends::{
    events,
    guest_abi::io::netif::MAX_TX_SIZE,
    netfront::{Netfront, phy::NetDevice},
    println,
    time::{self, Alarm},
    xenbus::{Device, Life, Store, Transaction},
};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    socket::{dhcpv4, tcp, udp},
    time::{Duration, Instant},
    wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr},
};

use super::{Failed, Host, VCPU};

/// Tokens of our watches.
const ORDER: &str = "order";
const PLUG: &str = "plug";
/// Bytes of a socket's buffer: eight packets of the greatest length, so that none is cut where the
/// buffer begins anew.
const BUFFER: usize = 8 * (MAX_TX_SIZE - 54);
/// The longest sleep, in nanoseconds.
const LONGEST: u64 = 10_000_000_000;

/// Everything between the wire and the sockets.
pub(super) struct Stack {
    pub(super) host: Host,
    device: Option<NetDevice>,
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    alarm: Alarm,
    /// The toolstack wants an end.
    pub(super) stopping: bool,
}

fn now() -> Instant {
    let micros = time::now(VCPU) / 1000;
    Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// An address from the command line.
pub(super) fn address(host: &Host, name: &str) -> Option<Ipv4Address> {
    host.start.argument(name)?.parse().ok()
}

impl Stack {
    /// Connects to the card and begins to get an address.
    pub(super) fn new(mut host: Host) -> Result<Self, Failed> {
        let card = host.connect()?;
        describe(&card);
        host.store.begin_watch("control/shutdown", ORDER)?;
        host.store.begin_watch("device/vif", PLUG)?;
        let mac = EthernetAddress(card.link().mac);
        let mut device = NetDevice::new(card);
        let mut config = Config::new(mac.into());
        config.random_seed = time::cycles();
        let interface = Interface::new(config, &mut device, now());
        let mut stack = Self {
            host,
            device: Some(device),
            interface,
            sockets: SocketSet::new(vec![]),
            dhcp: None,
            alarm: Alarm::new()?,
            stopping: false,
        };
        stack.configure()?;
        Ok(stack)
    }

    /// Takes the address of the command line, or asks for one.
    fn configure(&mut self) -> Result<(), Failed> {
        let Some(text) = self.host.start.argument("ip") else {
            self.dhcp = Some(self.sockets.add(dhcpv4::Socket::new()));
            return Ok(());
        };
        let cidr: Ipv4Cidr = text.parse().map_err(|()| Failed::from("bad ip="))?;
        self.set_address(cidr, address(&self.host, "gateway"));
        Ok(())
    }

    fn set_address(&mut self, cidr: Ipv4Cidr, gateway: Option<Ipv4Address>) {
        println!("address {cidr}");
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for one.
            let _ = addresses.push(IpCidr::Ipv4(cidr));
        });
        if let Some(gateway) = gateway {
            // There is room for one route, too.
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
    }

    /// Whether there is an address.
    pub(super) fn is_up(&self) -> bool {
        self.interface.ipv4_addr().is_some()
    }

    /// A TCP socket.
    pub(super) fn tcp(&mut self) -> SocketHandle {
        self.tcp_with(0)
    }

    /// A TCP socket whose buffers are made of a byte.
    pub(super) fn tcp_with(&mut self, byte: u8) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![byte; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        self.sockets.add(socket)
    }

    /// A UDP socket.
    pub(super) fn udp(&mut self) -> SocketHandle {
        let buffer = || {
            let meta = vec![udp::PacketMetadata::EMPTY; 64];
            udp::PacketBuffer::new(meta, vec![0; 64 << 10])
        };
        self.sockets.add(udp::Socket::new(buffer(), buffer()))
    }

    /// Opens a connection from a socket.
    pub(super) fn connect(
        &mut self,
        socket: SocketHandle,
        to: Ipv4Address,
        port: u16,
    ) -> Result<(), Failed> {
        let local = 49152 + u16::try_from(time::cycles() % 16384).unwrap_or(0);
        let context = self.interface.context();
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(socket);
        socket
            .connect(context, (IpAddress::Ipv4(to), port), local)
            .map_err(|error| Failed(format!("{error}")))
    }

    /// One round: moves frames and sockets on. `busy` says whether the caller has more to do by
    /// itself; if not, and the stack has nothing to send, this first sleeps until something happens.
    pub(super) fn turn(&mut self, busy: bool) -> Result<(), Failed> {
        if !busy {
            self.sleep()?;
        }
        events::take(VCPU, |_| ());
        while let Some(event) = self.host.store.poll_event() {
            self.heed(&event.token)?;
        }
        let Some(device) = self.device.as_mut() else {
            return Ok(());
        };
        self.interface.poll(now(), device, &mut self.sockets);
        device.card.kick();
        if let Some(broken) = device.broken.take() {
            return Err(broken.into());
        }
        self.hear_dhcp();
        Ok(())
    }

    /// Sleeps until a frame comes or the stack wants to go on.
    fn sleep(&mut self) -> Result<(), Failed> {
        let Some(device) = self.device.as_mut() else {
            events::wait(VCPU);
            return Ok(());
        };
        if device.card.arm()? {
            return Ok(());
        }
        let room = device.card.has_room()?;
        let delay = self.interface.poll_delay(now(), &self.sockets);
        // What waits for room is woken by an event, not by the clock.
        let delay = delay.filter(|_| room).map_or(LONGEST, |delay: Duration| {
            delay.total_micros().saturating_mul(1000).min(LONGEST)
        });
        if delay > 0 {
            self.alarm.wait_until(time::now(VCPU) + delay);
        }
        Ok(())
    }

    fn hear_dhcp(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let event = self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll();
        if let Some(dhcpv4::Event::Configured(config)) = event {
            let (address, router) = (config.address, config.router);
            self.set_address(address, router);
        }
    }

    /// A watch has fired.
    fn heed(&mut self, token: &str) -> Result<(), Failed> {
        if token == ORDER {
            let order = self.host.store.read(Transaction::NONE, "control/shutdown");
            self.stopping |= order.is_ok_and(|order| !order.is_empty());
            return Ok(());
        }
        if token == PLUG {
            return self.plug_in();
        }
        let ours = |device: &mut NetDevice| device.card.device().token() == token;
        let Some(mut device) = self.device.take_if(ours) else {
            return Ok(());
        };
        let mut life = device.card.life(&mut self.host.store)?;
        if life == Life::Restarted {
            life = match device.card.reconnect(&mut self.host.store) {
                Err(error) if error.is_unplugged() => Life::CloseAsked,
                reconnected => {
                    reconnected?;
                    println!("reconnected");
                    Life::Serving
                }
            };
        }
        match life {
            Life::Serving | Life::Restarted => self.device = Some(device),
            Life::CloseAsked => {
                device.card.close(&mut self.host.store)?;
                println!("unplugged");
                self.plug_in()?;
            }
        }
        Ok(())
    }

    /// Connects again if our card is gone and one with its number has appeared.
    fn plug_in(&mut self) -> Result<(), Failed> {
        if self.device.is_some() {
            return Ok(());
        }
        let state = format!("device/vif/{}/state", self.host.id);
        let fresh = self.host.store.get(&state)?.as_deref() == Some("1");
        if fresh && Device::list(&mut self.host.store, "vif")?.contains(&self.host.id) {
            let card = match self.host.connect() {
                Err(error) if error.is_unplugged() => {
                    println!("unplugged at once");
                    return Ok(());
                }
                card => card?,
            };
            self.interface
                .set_hardware_addr(EthernetAddress(card.link().mac).into());
            self.device = Some(NetDevice::new(card));
            println!("plugged in again");
        }
        Ok(())
    }

    /// Runs until there is an address.
    pub(super) fn come_up(&mut self) -> Result<(), Failed> {
        // The store may have said something already, for which there is no more event.
        self.turn(true)?;
        while !self.is_up() && !self.stopping {
            self.turn(false)?;
        }
        Ok(())
    }
}

/// Says what card it is.
fn describe(card: &Netfront) {
    let link = card.link();
    let mac: String =
        EthernetAddress(link.mac)
            .0
            .iter()
            .fold(String::new(), |text, byte| match text.is_empty() {
                true => format!("{byte:02x}"),
                false => format!("{text}:{byte:02x}"),
            });
    println!("card {mac}, mtu {}, {:?}", link.mtu, link.features);
}
