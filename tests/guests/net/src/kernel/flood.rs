//! Raw frames as fast as they go.

use alloc::{format, string::String, vec};

use frontends::{
    events,
    netfront::{Offload, SendError},
    time,
};

use super::{Failed, Host, VCPU};

/// An Ethernet type that nobody uses.
const TYPE: [u8; 2] = [0x88, 0xb5];

/// Six bytes with colons between them.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(mac)
}

/// Sends `count` frames of `size` bytes; broadcasts unless `to` names somebody.
pub(super) fn run(host: &mut Host) -> Result<String, Failed> {
    let to = host.start.argument("to").and_then(mac).unwrap_or([0xff; 6]);
    let count = host.number("count").unwrap_or(100_000);
    let size = host.number("size").and_then(|n| usize::try_from(n).ok());
    let mut card = host.connect()?;
    let mut frame = vec![0; size.unwrap_or(60).clamp(60, card.longest_frame())];
    frame[..6].copy_from_slice(&to);
    frame[6..12].copy_from_slice(&card.link().mac);
    frame[12..14].copy_from_slice(&TYPE);
    let (start, mut sent) = (time::cycles(), 0);
    while sent < count {
        match card.send(&frame, Offload::default()) {
            Ok(()) => sent += 1,
            Err(SendError::TooLong) => return Err("the frame is too long".into()),
            Err(SendError::Full) => {
                card.kick();
                while card.receive()?.is_some() {}
                events::take(VCPU, |_| ());
                if !card.has_room()? && !card.arm()? {
                    events::wait(VCPU);
                }
            }
        }
    }
    card.kick();
    let each = time::cycles().wrapping_sub(start) / count.max(1);
    let dropped = card.dropped();
    card.close(&mut host.store)?;
    Ok(format!("sent={sent} ticks={each} dropped={dropped}"))
}
