//! ICMP echo: is somebody there, and how far away.

use alloc::{format, string::String, vec};

use frontends::{println, time};
use smoltcp::{
    phy::ChecksumCapabilities,
    socket::icmp,
    wire::{Icmpv4Packet, Icmpv4Repr, IpAddress},
};

use super::{
    Failed, Host, VCPU,
    stack::{Stack, address},
};

const IDENT: u16 = 0x5244;
/// How long an answer may take, in nanoseconds.
const PATIENCE: u64 = 5_000_000_000;

/// Sends echo requests one after the other; fails if one gets no answer.
pub(super) fn run(host: Host) -> Result<String, Failed> {
    let to = address(&host, "to").ok_or("to=ADDRESS is missing")?;
    let count = host.number("count").unwrap_or(10);
    let mut stack = Stack::new(host)?;
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
    let handle = stack.sockets.add(icmp::Socket::new(buffer(), buffer()));
    stack.come_up()?;
    stack
        .sockets
        .get_mut::<icmp::Socket<'_>>(handle)
        .bind(icmp::Endpoint::Ident(IDENT))
        .map_err(|error| Failed(format!("{error}")))?;
    let mut ticks = 0;
    for number in 0..count {
        let (start, deadline) = (time::cycles(), time::now(VCPU) + PATIENCE);
        send(&mut stack, handle, to.into(), number)?;
        loop {
            let socket = stack.sockets.get_mut::<icmp::Socket<'_>>(handle);
            if socket.can_recv() && socket.recv().is_ok_and(|(data, _)| answers(data, number)) {
                break;
            }
            if time::now(VCPU) > deadline {
                return Err(Failed(format!("no answer to echo request {number}")));
            }
            stack.turn(false)?;
        }
        // The first one has to find out the address.
        if number > 0 {
            ticks += time::cycles().wrapping_sub(start);
        }
    }
    let each = ticks / count.saturating_sub(1).max(1);
    println!("ping: {count} round trips, {each} ticks each");
    Ok(format!("ping={each}"))
}

fn send(
    stack: &mut Stack,
    handle: smoltcp::iface::SocketHandle,
    to: IpAddress,
    number: u64,
) -> Result<(), Failed> {
    let request = Icmpv4Repr::EchoRequest {
        ident: IDENT,
        seq_no: u16::try_from(number % 65536).unwrap_or(0),
        data: b"is somebody there?",
    };
    let socket = stack.sockets.get_mut::<icmp::Socket<'_>>(handle);
    let room = socket
        .send(request.buffer_len(), to)
        .map_err(|error| Failed(format!("{error}")))?;
    request.emit(
        &mut Icmpv4Packet::new_unchecked(room),
        &ChecksumCapabilities::default(),
    );
    Ok(())
}

/// Whether a packet is the answer to a request.
fn answers(data: &[u8], number: u64) -> bool {
    let Ok(packet) = Icmpv4Packet::new_checked(data) else {
        return false;
    };
    matches!(
        Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()),
        Ok(Icmpv4Repr::EchoReply { seq_no, .. }) if u64::from(seq_no) == number % 65536
    )
}
