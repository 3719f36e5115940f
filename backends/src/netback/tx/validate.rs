//! What a packet's requests say, checked on a private copy of the slots.
//!
//! ```text
//!  first request ── EXTRA_INFO ──▶ extra … ── MORE_DATA ──▶ request ── MORE_DATA ──▶ request
//!  size = whole packet             gso                      size = its own piece
//! ```

use alloc::vec::Vec;
use core::fmt;

use guest_abi::PAGE_SIZE;
use guest_abi::ids::GrantRef;
use guest_abi::io::netif::{
    EXTRA_FLAG_MORE, ExtraInfo, ExtraType, GSO_TYPE_TCPV4, GSO_TYPE_TCPV6, NR_SLOTS_MIN, TxFlags,
    TxRequest,
};
use guest_abi::zerocopy::FromBytes;

use crate::netback::packet::{Family, Gso};

/// Bytes of a slot on the ring.
pub(in crate::netback) const SLOT_SIZE: usize = size_of::<TxRequest>();
/// Extra slots a packet may have.
const MAX_EXTRAS: u16 = 4;

/// A piece of a packet, within one page of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::netback) struct Slot {
    pub(in crate::netback) reference: GrantRef,
    pub(in crate::netback) offset: u16,
    pub(in crate::netback) len: u16,
    pub(in crate::netback) id: u16,
}

/// A packet as its requests describe it. Its slots are kept beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::netback) struct Request {
    /// Bytes of the whole packet.
    pub(in crate::netback) size: u16,
    /// Its checksum is still to be computed.
    pub(in crate::netback) blank: bool,
    /// The guest says that the data is good.
    pub(in crate::netback) validated: bool,
    pub(in crate::netback) gso: Option<Gso>,
    /// Slots that held no data.
    pub(in crate::netback) extras: u16,
}

/// Requests that make no sense. Their frontend is not to be trusted any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::netback) enum Malformed {
    /// The packet goes on beyond what was published.
    Incomplete,
    /// More slots than any packet may take.
    TooManySlots,
    /// A piece that reaches beyond its page.
    BeyondPage { offset: u16, size: usize },
    /// Pieces longer than the packet.
    PiecesTooLong { size: u16 },
    /// An extra of no known kind, or too many of them.
    BadExtra(u8),
    /// Segmentation into nothing, or of nothing known.
    BadGso { kind: u8, size: u16 },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete => f.write_str("a packet goes on beyond the requests published"),
            Self::TooManySlots => write!(f, "a packet takes more than {NR_SLOTS_MIN} slots"),
            Self::BeyondPage { offset, size } => {
                write!(f, "a piece of {size} bytes at {offset:#x} crosses its page")
            }
            Self::PiecesTooLong { size } => {
                write!(f, "a packet's pieces are longer than its {size} bytes")
            }
            Self::BadExtra(kind) => write!(f, "a bad extra slot of kind {kind}"),
            Self::BadGso { kind, size } => {
                write!(f, "segmentation of kind {kind} into pieces of {size} bytes")
            }
        }
    }
}

/// Reads the packet at the front of `raw`; its pieces are added to `slots`.
pub(in crate::netback) fn packet(
    raw: &[[u8; SLOT_SIZE]],
    slots: &mut Vec<Slot>,
) -> Result<Request, Malformed> {
    let mut raw = raw.iter();
    let first = next(&mut raw)?;
    let flags = TxFlags::from_bits_truncate(first.flags);
    let mut request = Request {
        size: first.size,
        blank: flags.contains(TxFlags::CSUM_BLANK),
        validated: flags.intersects(TxFlags::DATA_VALIDATED | TxFlags::CSUM_BLANK),
        gso: None,
        extras: 0,
    };
    if flags.contains(TxFlags::EXTRA_INFO) {
        extras(&mut raw, &mut request)?;
    }
    pieces(&mut raw, first, slots)?;
    Ok(request)
}

fn next<'a>(raw: &mut impl Iterator<Item = &'a [u8; SLOT_SIZE]>) -> Result<TxRequest, Malformed> {
    let bytes = raw.next().ok_or(Malformed::Incomplete)?;
    TxRequest::read_from_bytes(bytes).map_err(|_| Malformed::Incomplete)
}

fn extras<'a>(
    raw: &mut impl Iterator<Item = &'a [u8; SLOT_SIZE]>,
    request: &mut Request,
) -> Result<(), Malformed> {
    loop {
        let bytes = raw.next().ok_or(Malformed::Incomplete)?;
        let (extra, _) = ExtraInfo::read_from_prefix(bytes).map_err(|_| Malformed::Incomplete)?;
        request.extras += 1;
        match ExtraType::from_number(extra.kind) {
            Some(ExtraType::Gso) => {
                request.gso = Some(gso(&extra)?);
                // Every segment gets a checksum of its own.
                request.blank = true;
            }
            Some(ExtraType::None) | None => return Err(Malformed::BadExtra(extra.kind)),
            // Hints that we have not offered to take.
            Some(_) => {}
        }
        if extra.flags & EXTRA_FLAG_MORE == 0 {
            return Ok(());
        }
        if request.extras == MAX_EXTRAS {
            return Err(Malformed::BadExtra(extra.kind));
        }
    }
}

fn gso(extra: &ExtraInfo) -> Result<Gso, Malformed> {
    let bad = Malformed::BadGso {
        kind: extra.gso_type,
        size: extra.gso_size,
    };
    let family = match extra.gso_type {
        GSO_TYPE_TCPV4 => Family::V4,
        GSO_TYPE_TCPV6 => Family::V6,
        _ => return Err(bad),
    };
    match extra.gso_size {
        0 => Err(bad),
        size => Ok(Gso { family, size }),
    }
}

fn pieces<'a>(
    raw: &mut impl Iterator<Item = &'a [u8; SLOT_SIZE]>,
    first: TxRequest,
    slots: &mut Vec<Slot>,
) -> Result<(), Malformed> {
    let start = slots.len();
    let mut left = first.size;
    slots.push(slot(&first));
    let mut more = first.flags;
    while more & TxFlags::MORE_DATA.bits() != 0 {
        if slots.len() - start == NR_SLOTS_MIN {
            return Err(Malformed::TooManySlots);
        }
        let request = next(raw)?;
        check(request.offset, request.size)?;
        left = left
            .checked_sub(request.size)
            .ok_or(Malformed::PiecesTooLong { size: first.size })?;
        slots.push(slot(&request));
        more = request.flags;
    }
    check(first.offset, left)?;
    // What the others leave of the whole is the first one's.
    if let Some(first) = slots.get_mut(start) {
        first.len = left;
    }
    Ok(())
}

fn slot(request: &TxRequest) -> Slot {
    Slot {
        reference: request.gref,
        offset: request.offset,
        len: request.size,
        id: request.id,
    }
}

fn check(offset: u16, size: u16) -> Result<(), Malformed> {
    let size = usize::from(size);
    if usize::from(offset) + size > PAGE_SIZE {
        return Err(Malformed::BeyondPage { offset, size });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest_abi::zerocopy::IntoBytes;

    fn raw(id: u16, offset: u16, size: u16, flags: TxFlags) -> [u8; SLOT_SIZE] {
        let request = TxRequest {
            gref: GrantRef::new(u32::from(id) + 100),
            offset,
            flags: flags.bits(),
            id,
            size,
        };
        request.as_bytes().try_into().unwrap()
    }

    fn extra(kind: u8, flags: u8, size: u16, gso_type: u8) -> [u8; SLOT_SIZE] {
        let mut bytes = [0; SLOT_SIZE];
        bytes[0] = kind;
        bytes[1] = flags;
        bytes[2..4].copy_from_slice(&size.to_le_bytes());
        bytes[4] = gso_type;
        bytes
    }

    fn read(raw: &[[u8; SLOT_SIZE]]) -> Result<(Request, Vec<Slot>), Malformed> {
        let mut slots = Vec::new();
        packet(raw, &mut slots).map(|request| (request, slots))
    }

    #[test]
    fn the_first_slot_holds_what_the_others_leave() {
        let more = TxFlags::MORE_DATA | TxFlags::CSUM_BLANK;
        let (request, slots) = read(&[
            raw(1, 16, 5000, more),
            raw(2, 0, 4096, TxFlags::MORE_DATA),
            raw(3, 96, 800, TxFlags::empty()),
            raw(4, 0, 60, TxFlags::empty()),
        ])
        .unwrap();
        assert_eq!(
            (request.size, request.blank, request.extras),
            (5000, true, 0)
        );
        let lens: Vec<_> = slots.iter().map(|slot| (slot.id, slot.len)).collect();
        assert_eq!(lens, [(1, 104), (2, 4096), (3, 800)]);
    }

    #[test]
    fn segmentation_comes_in_a_slot_of_its_own() {
        let flags = TxFlags::EXTRA_INFO | TxFlags::CSUM_BLANK;
        let (request, slots) =
            read(&[raw(1, 0, 3000, flags), extra(1, 0, 1448, GSO_TYPE_TCPV6)]).unwrap();
        let family = Family::V6;
        assert_eq!(request.gso, Some(Gso { family, size: 1448 }));
        assert_eq!((request.extras, slots.len()), (1, 1));
    }

    #[test]
    fn a_chain_beyond_what_was_published_is_refused() {
        let more = raw(1, 0, 100, TxFlags::MORE_DATA);
        assert_eq!(read(&[more]), Err(Malformed::Incomplete));
        let extra = raw(1, 0, 100, TxFlags::EXTRA_INFO);
        assert_eq!(read(&[extra]), Err(Malformed::Incomplete));
        assert_eq!(read(&[]), Err(Malformed::Incomplete));
    }

    #[test]
    fn more_slots_than_a_packet_may_take_are_refused() {
        let chain = |count: usize| {
            let mut raws = alloc::vec![raw(1, 0, 1000, TxFlags::MORE_DATA); count];
            raws[count - 1] = raw(9, 0, 1000, TxFlags::empty());
            raws.iter_mut().skip(1).for_each(|raw| raw[10..12].fill(1));
            raws.iter_mut().skip(1).for_each(|raw| raw[11] = 0);
            raws
        };
        assert_eq!(read(&chain(18)).unwrap().1.len(), 18);
        assert_eq!(read(&chain(19)), Err(Malformed::TooManySlots));
    }

    #[test]
    fn pieces_beyond_a_page_or_the_packet_are_refused() {
        let alone = raw(1, 4000, 100, TxFlags::empty());
        assert!(matches!(read(&[alone]), Err(Malformed::BeyondPage { .. })));
        let last = raw(2, 4095, 2, TxFlags::empty());
        let first = raw(1, 0, 100, TxFlags::MORE_DATA);
        assert!(matches!(
            read(&[first, last]),
            Err(Malformed::BeyondPage { .. })
        ));
        let last = raw(2, 0, 101, TxFlags::empty());
        assert_eq!(
            read(&[first, last]),
            Err(Malformed::PiecesTooLong { size: 100 })
        );
    }

    #[test]
    fn senseless_extras_are_refused() {
        let first = raw(1, 0, 100, TxFlags::EXTRA_INFO);
        for bad in [
            extra(0, 0, 0, 0),
            extra(99, 0, 0, 0),
            extra(1, 0, 0, GSO_TYPE_TCPV4),
            extra(1, 0, 1448, 0),
            extra(1, 0, 1448, 3),
        ] {
            assert!(read(&[first, bad]).is_err(), "{bad:?}");
        }
        let endless = extra(4, EXTRA_FLAG_MORE, 0, 0);
        assert!(read(&[first, endless, endless, endless, endless, endless]).is_err());
    }
}
