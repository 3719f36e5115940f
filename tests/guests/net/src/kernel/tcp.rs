//! Streams: echoed, sent.

use alloc::{format, string::String, vec};

use frontends::{println, time};
use smoltcp::{
    iface::SocketHandle,
    socket::{tcp, udp},
};

use super::{
    Failed, Host, VCPU,
    stack::{Stack, address},
};
use crate::pattern;

/// How long the other end may take to hear that a stream has ended: in nanoseconds.
const PATIENCE: u64 = 3_000_000_000;
/// Connections served at once.
const CONNECTIONS: usize = 4;

pub(super) fn port(host: &Host, default: u16) -> u16 {
    let port = host
        .number("port")
        .and_then(|port| u16::try_from(port).ok());
    port.unwrap_or(default)
}

/// Sends back what comes, by TCP and UDP.
pub(super) fn echo(host: Host) -> Result<String, Failed> {
    let (port, limit) = (port(&host, 7), host.number("ops"));
    let mut stack = Stack::new(host)?;
    let sockets: [SocketHandle; CONNECTIONS] = core::array::from_fn(|_| stack.tcp());
    let datagrams = stack.udp();
    stack.come_up()?;
    stack
        .sockets
        .get_mut::<udp::Socket<'_>>(datagrams)
        .bind(port)
        .map_err(|error| Failed(format!("{error}")))?;
    let (mut served, mut buffer) = (0, vec![0; 16 << 10]);
    while !stack.stopping && limit.is_none_or(|limit| served < limit) {
        let mut busy = echo_datagrams(&mut stack, datagrams, &mut buffer);
        for handle in sockets {
            let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let (moved, ended) = echo_stream(socket, port, &mut buffer)?;
            busy |= moved;
            served += u64::from(ended);
        }
        stack.turn(busy)?;
    }
    Ok(format!("connections={served}"))
}

/// One round of a connection: whether something moved, and whether it has ended.
fn echo_stream(
    socket: &mut tcp::Socket<'_>,
    port: u16,
    buffer: &mut [u8],
) -> Result<(bool, bool), Failed> {
    if !socket.is_open() {
        let listening = socket.listen(port);
        listening.map_err(|error| Failed(format!("{error}")))?;
        return Ok((true, false));
    }
    if socket.can_recv() && socket.can_send() {
        let room = (socket.send_capacity() - socket.send_queue()).min(buffer.len());
        let count = socket.recv_slice(&mut buffer[..room]).unwrap_or(0);
        return Ok((socket.send_slice(&buffer[..count]).unwrap_or(0) > 0, false));
    }
    // The other end has no more to say, and all of it went back.
    let ending = socket.state() == tcp::State::CloseWait && socket.send_queue() == 0;
    if ending {
        socket.close();
    }
    Ok((ending, ending))
}

fn echo_datagrams(stack: &mut Stack, handle: SocketHandle, buffer: &mut [u8]) -> bool {
    let socket = stack.sockets.get_mut::<udp::Socket<'_>>(handle);
    let mut any = false;
    while socket.can_recv() && socket.can_send() {
        let Ok((count, from)) = socket.recv_slice(buffer) else {
            break;
        };
        // One that finds no room is lost.
        let _ = socket.send_slice(&buffer[..count], from);
        any = true;
    }
    any
}

/// Says how long so many bytes have taken.
pub(super) fn tell(what: &str, bytes: u64, since: Option<(u64, u64)>) {
    let (start, cycles) = since.unwrap_or((time::now(VCPU), time::cycles()));
    let nanoseconds = (time::now(VCPU) - start).max(1);
    let ticks = time::cycles().wrapping_sub(cycles);
    println!(
        "{what}: {bytes} bytes, {} ticks for 1000, {} MB/s",
        ticks.saturating_mul(1000) / bytes.max(1),
        bytes.saturating_mul(1000) / nanoseconds,
    );
}

/// Sends a stream.
pub(super) fn source(host: Host) -> Result<String, Failed> {
    let to = address(&host, "to").ok_or("to=ADDRESS is missing")?;
    let (port, total) = (port(&host, 9), host.number("bytes").unwrap_or(64 << 20));
    let mut stack = Stack::new(host)?;
    let pattern = stack.host.has_word("pattern");
    let handle = stack.tcp_with(b'x');
    stack.come_up()?;
    stack.connect(handle, to, port)?;
    let (mut sent, mut since) = (0_u64, None);
    loop {
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        let mut busy = false;
        if !socket.is_open() {
            return Err("the connection was refused or lost".into());
        }
        if socket.can_send() && sent < total {
            since.get_or_insert((time::now(VCPU), time::cycles()));
            let left = usize::try_from(total - sent).unwrap_or(usize::MAX);
            let count = socket.send(|room| {
                let count = room.len().min(left);
                // Without, the buffer's own bytes go: no others are ever in it.
                if pattern {
                    pattern::fill(sent, &mut room[..count]);
                }
                (count, count)
            });
            let count = count.unwrap_or(0);
            sent += count as u64;
            busy = count > 0;
        }
        if sent >= total && socket.send_queue() == 0 {
            break;
        }
        stack.turn(busy)?;
    }
    tell("source", sent, since);
    close(&mut stack, handle)?;
    Ok(format!("bytes={sent}"))
}

/// Closes a connection, and waits until the other end knows, or for a while.
fn close(stack: &mut Stack, handle: SocketHandle) -> Result<(), Failed> {
    let deadline = time::now(VCPU) + PATIENCE;
    stack.sockets.get_mut::<tcp::Socket<'_>>(handle).close();
    while time::now(VCPU) < deadline {
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !socket.is_active() || socket.state() == tcp::State::FinWait2 {
            break;
        }
        stack.turn(false)?;
    }
    Ok(())
}
