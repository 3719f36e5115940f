//! Bare acknowledgements that the next one makes superfluous.
//!
//! What TCP acknowledges adds up: of several in a row the last one says it all (RFC 3449, 5.2.1).
//! A guest whose peer acknowledges every segment by itself otherwise spends more on being told
//! than on sending. Whatever says more than "so far" stays: repeated acknowledgements, selective
//! ones, changes of the window alone, congestion.

use super::checksum::Sum;
use super::segment::pseudo_header;
use crate::host::Piece;
use crate::netback::packet::{Family, Layout, TCP, layout};

/// The longest frame that is looked at: all headers at their longest.
const LONGEST: usize = 14 + 40 + 32;

const ACK: u8 = 0x10;
/// Two fillers and a timestamp: the one option that may be there.
const TIMESTAMP: [u8; 4] = [1, 1, 8, 10];
const TIMESTAMP_LEN: usize = 12;

/// A bare acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(in crate::netback) struct Bare {
    bytes: [u8; LONGEST],
    layout: Layout,
    /// The number up to which all has come.
    number: u32,
}

impl Bare {
    /// The frame of these pieces, if it is one and undamaged.
    pub(in crate::netback) fn read(frame: &[Piece]) -> Option<Self> {
        // Most frames are something else, as their length tells.
        let [piece] = frame else { return None };
        if piece.len > LONGEST {
            return None;
        }
        let mut bytes = [0; LONGEST];
        let front = bytes.get_mut(..piece.len)?;
        piece.read(0, front);
        let layout = layout(front)?;
        let segment = front.get(layout.transport..layout.transport + layout.transport_len)?;
        let (fixed, options) = segment.split_first_chunk::<20>()?;
        let known =
            options.is_empty() || options.len() == TIMESTAMP_LEN && options.starts_with(&TIMESTAMP);
        let is_bare = layout.protocol == TCP
            && !layout.fragment
            && usize::from(fixed[12] >> 4) * 4 == segment.len()
            && fixed[13] == ACK
            && known;
        let [.., a, b, c, d] = *fixed.first_chunk::<12>()?;
        let number = u32::from_be_bytes([a, b, c, d]);
        (is_bare && is_sound(front, &layout, segment)?).then_some(Self {
            bytes,
            layout,
            number,
        })
    }

    /// Whether the next one of the same flow, this one, acknowledges more.
    pub(in crate::netback) fn supersedes(&self, before: &Self) -> bool {
        let more = self.number.wrapping_sub(before.number);
        (1..1 << 31).contains(&more)
            && self.layout == before.layout
            && is_same_flow(&self.bytes, &before.bytes, &self.layout)
    }
}

fn is_sound(frame: &[u8], layout: &Layout, segment: &[u8]) -> Option<bool> {
    let mut network = Sum::default();
    network.add(frame.get(layout.network..layout.transport)?);
    let mut sum = pseudo_header(frame, layout, layout.transport_len)?;
    sum.add(segment);
    let network_sound = layout.family == Family::V6 || network.finish() == [0; 2];
    Some(network_sound && sum.finish() == [0; 2])
}

/// Whether two of the same layout differ only in what one acknowledgement may say otherwise than
/// the one before: its number, window and time.
fn is_same_flow(one: &[u8], other: &[u8], layout: &Layout) -> bool {
    let Layout {
        network, transport, ..
    } = *layout;
    let same = |start: usize, end: usize| {
        let parts = one.get(start..end).zip(other.get(start..end));
        parts.is_some_and(|(one, other)| one == other)
    };
    let network_same = match layout.family {
        // Not the packet's own number, nor the checksum.
        Family::V4 => {
            same(0, network + 4) && same(network + 6, network + 10) && same(network + 12, transport)
        }
        Family::V6 => same(0, transport),
    };
    network_same && same(transport, transport + 8) && same(transport + 12, transport + 14)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::SharedPage;
    use crate::host::fake::FakePage;
    use crate::netback::offload::segment::seal;
    use crate::netback::packet::{IPV4, IPV6};
    use crate::netback::testing::{frame, ipv4, ipv6};
    use alloc::rc::Rc;
    use alloc::vec::Vec;

    fn read(frame: &[u8]) -> Option<super::Bare> {
        let page = FakePage::new();
        page.copy_to(0, frame);
        super::Bare::read(&[Piece {
            memory: Rc::new(page),
            offset: 0,
            len: frame.len(),
        }])
    }

    fn is_superseded(frame: &[u8], next: &[u8]) -> bool {
        let (frame, next) = (read(frame), read(next));
        next.zip(frame)
            .is_some_and(|(next, frame)| next.supersedes(&frame))
    }

    #[derive(Clone)]
    struct Bare {
        v6: bool,
        seq: u32,
        ack: u32,
        flags: u8,
        window: u8,
        options: Vec<u8>,
        payload: usize,
    }

    const PLAIN: Bare = Bare {
        v6: false,
        seq: 7,
        ack: 1000,
        flags: ACK,
        window: 9,
        options: Vec::new(),
        payload: 0,
    };

    impl Bare {
        fn frame(&self) -> Vec<u8> {
            let mut tcp = alloc::vec![0x12, 0x34, 0, 80];
            tcp.extend(self.seq.to_be_bytes());
            tcp.extend(self.ack.to_be_bytes());
            tcp.push(u8::try_from(5 + self.options.len() / 4).unwrap() << 4);
            tcp.extend([self.flags, 1, self.window, 0, 0, 0, 0]);
            tcp.extend(&self.options);
            tcp.extend(alloc::vec![5; self.payload]);
            let mut whole = if self.v6 {
                frame([1; 6], [2; 6], IPV6, &ipv6([7; 16], [9; 16], TCP, &tcp))
            } else {
                frame([1; 6], [2; 6], IPV4, &ipv4([10; 4], [11; 4], TCP, &tcp))
            };
            let found = layout(&whole).unwrap();
            seal(&mut whole, &found, found.transport_len, Sum::default()).unwrap();
            whole
        }

        fn then(&self, next: &Self) -> bool {
            is_superseded(&self.frame(), &next.frame())
        }
    }

    fn timestamp(time: u8) -> Vec<u8> {
        alloc::vec![1, 1, 8, 10, 0, 0, 0, time, 0, 0, 0, time]
    }

    #[test]
    fn one_that_acknowledges_more_makes_the_one_before_superfluous() {
        for v6 in [false, true] {
            let one = Bare { v6, ..PLAIN };
            let more = Bare {
                ack: 2448,
                window: 10,
                ..one.clone()
            };
            assert!(one.then(&more));
            let wraps = Bare {
                ack: u32::MAX - 3,
                ..one.clone()
            };
            assert!(wraps.then(&Bare {
                ack: 900,
                ..one.clone()
            }));
            let timed = |one: Bare, time| Bare {
                options: timestamp(time),
                ..one
            };
            assert!(timed(one, 1).then(&timed(more, 2)));
        }
    }

    #[test]
    fn what_says_more_than_so_far_stays() {
        let more = Bare { ack: 2448, ..PLAIN };
        assert!(!PLAIN.then(&PLAIN), "repeated");
        assert!(!PLAIN.then(&Bare { window: 1, ..PLAIN }), "a window");
        assert!(!more.then(&PLAIN), "an older one behind");
        for flags in [
            ACK | 1,
            ACK | 2,
            ACK | 4,
            ACK | 8,
            ACK | 0x20,
            ACK | 0x40,
            ACK | 0x80,
        ] {
            assert!(!Bare { flags, ..PLAIN }.then(&more), "{flags:#x}");
            assert!(
                !PLAIN.then(&Bare {
                    flags,
                    ..more.clone()
                }),
                "{flags:#x}"
            );
        }
        let selective = alloc::vec![1, 1, 5, 10, 0, 0, 9, 0, 0, 0, 9, 9];
        assert!(
            !Bare {
                options: selective,
                ..PLAIN
            }
            .then(&more)
        );
        assert!(!PLAIN.then(&Bare {
            options: timestamp(1),
            ..more.clone()
        }));
        assert!(
            !PLAIN.then(&Bare {
                payload: 1,
                ..more.clone()
            }),
            "data"
        );
        assert!(
            !Bare {
                payload: 1,
                ..PLAIN
            }
            .then(&more),
            "data"
        );
        assert!(
            !PLAIN.then(&Bare {
                seq: 8,
                ..more.clone()
            }),
            "a probe"
        );
    }

    #[test]
    fn other_flows_and_damage_count_for_nothing() {
        let (one, more) = (PLAIN.frame(), Bare { ack: 2448, ..PLAIN }.frame());
        for at in 0..more.len() {
            let mut other = more.clone();
            other[at] ^= 1;
            assert!(!is_superseded(&one, &other), "byte {at}");
            let mut this = one.clone();
            this[at] ^= 1;
            assert!(!is_superseded(&this, &more), "byte {at}");
        }
        for len in 0..one.len() {
            assert!(!is_superseded(&one[..len], &more) && !is_superseded(&one, &more[..len]));
        }
    }
}
