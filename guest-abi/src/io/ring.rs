//! Ring arithmetic: free-running 32-bit indices, and what may be concluded from them.
//!
//! A ring page begins with four indices and events; its slots are shared by requests and
//! responses, so a response may take the slot of a request that was answered. The front produces
//! requests and consumes responses, the back does the opposite. Everything here is arithmetic on
//! values somebody read from the page once: who reads and writes the page, and with which
//! barriers, is for the two ends to know:
//!
//! 1. A producer writes the slots, then (write barrier) its index, then (full barrier) reads the
//!    other end's event and asks [`Published::should_notify`].
//! 2. A consumer reads the producer's index through [`Consumer::available`], then (read barrier)
//!    the slots. Before it sleeps it writes [`Consumer::event`], then (full barrier) looks again.
//!
//! The other end is not to be trusted: an index that ran further than there are slots is an
//! [`Overrun`], never a reason to read on.

abi! {
    /// The front of a ring page; slots begin at [`SLOTS_OFFSET`].
    pub struct RingHeader: 16 {
        0 => req_prod: u32,
        4 => req_event: u32,
        8 => rsp_prod: u32,
        12 => rsp_event: u32,
    }
}

/// Where the slots of a ring page begin.
pub const SLOTS_OFFSET: usize = 64;

/// Slots of `slot_size` bytes a ring of `bytes` has: a power of two.
pub const fn nr_slots(bytes: usize, slot_size: usize) -> u32 {
    let room = bytes.saturating_sub(SLOTS_OFFSET);
    match room.checked_div(slot_size) {
        None | Some(0) => 0,
        Some(slots) => 1 << slots.ilog2(),
    }
}

/// The other end claims more than the ring can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// How many entries it claims to be waiting.
    pub claimed: u32,
    /// How many there can be.
    pub possible: u32,
}

/// What a producer has just published: the indices before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The index before.
    pub old: u32,
    /// The index now.
    pub new: u32,
}

impl Published {
    /// Whether the consumer, which asked to be told at `event`, must be told now.
    pub const fn should_notify(self, event: u32) -> bool {
        self.new.wrapping_sub(event) < self.new.wrapping_sub(self.old)
    }
}

/// The producing end of a direction: its own index, and what it believes of the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    slots: u32,
    /// The next entry to write.
    private: u32,
    /// The entries published so far.
    published: u32,
}

impl Producer {
    /// A producer on a ring of `slots` (a power of two), at the index it published last.
    pub const fn new(slots: u32, published: u32) -> Self {
        Self {
            slots,
            private: published,
            published,
        }
    }

    /// The next index to be written.
    pub const fn index(&self) -> u32 {
        self.private
    }

    /// How many slots are free, when `answered` responses have been consumed.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if more than was ever asked is said to be answered.
    pub const fn free(&self, answered: u32) -> Result<u32, Overrun> {
        let waiting = self.private.wrapping_sub(answered);
        match self.slots.checked_sub(waiting) {
            Some(free) => Ok(free),
            None => Err(Overrun {
                claimed: waiting,
                possible: self.slots,
            }),
        }
    }

    /// Takes the next slot: its number within the ring. The caller has checked that one is free.
    pub const fn take_slot(&mut self) -> u32 {
        let slot = self.private & self.slots.wrapping_sub(1);
        self.private = self.private.wrapping_add(1);
        slot
    }

    /// Publishes what was written: the caller stores `new` and then asks whether to notify.
    pub const fn publish(&mut self) -> Published {
        let published = Published {
            old: self.published,
            new: self.private,
        };
        self.published = self.private;
        published
    }
}

/// The consuming end of a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer {
    slots: u32,
    consumed: u32,
}

impl Consumer {
    /// A consumer on a ring of `slots` (a power of two), which has consumed this many.
    pub const fn new(slots: u32, consumed: u32) -> Self {
        Self { slots, consumed }
    }

    /// The next index to be consumed.
    pub const fn index(&self) -> u32 {
        self.consumed
    }

    /// How many entries wait, when the producer's index was read as `produced`.
    ///
    /// `possible` bounds them below the ring's size: a front knows how many requests are open, a
    /// back how many of the front's slots it has not answered yet.
    ///
    /// # Errors
    ///
    /// [`Overrun`] if the producer claims more.
    pub const fn available(&self, produced: u32, possible: u32) -> Result<u32, Overrun> {
        let possible = if possible < self.slots {
            possible
        } else {
            self.slots
        };
        let claimed = produced.wrapping_sub(self.consumed);
        if claimed <= possible {
            Ok(claimed)
        } else {
            Err(Overrun { claimed, possible })
        }
    }

    /// Consumes the next entry: its slot within the ring. The caller has checked that one waits.
    pub const fn take_slot(&mut self) -> u32 {
        let slot = self.consumed & self.slots.wrapping_sub(1);
        self.consumed = self.consumed.wrapping_add(1);
        slot
    }

    /// The event index by which to be told of the very next entry.
    pub const fn event(&self) -> u32 {
        self.consumed.wrapping_add(1)
    }
}

/// Bytes waiting in a byte stream of `size` (console, xenstore), read from its two indices.
///
/// # Errors
///
/// [`Overrun`] if the producer claims more than the stream can hold.
pub fn stream_used(size: usize, consumed: u32, produced: u32) -> Result<usize, Overrun> {
    let claimed = produced.wrapping_sub(consumed);
    match usize::try_from(claimed) {
        Ok(used) if used <= size => Ok(used),
        _ => Err(Overrun {
            claimed,
            possible: u32::try_from(size).unwrap_or(u32::MAX),
        }),
    }
}

/// The longest run of a stream, starting at an index, before it wraps: where, and at most how much.
pub fn stream_run(size: usize, index: u32, wanted: usize) -> (usize, usize) {
    let start = usize::try_from(index).unwrap_or(0) & size.saturating_sub(1);
    (start, wanted.min(size.saturating_sub(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: u32 = 32;

    #[test]
    fn known_rings_have_their_known_sizes() {
        assert_eq!(nr_slots(4096, 112), 32);
        assert_eq!(nr_slots(4096, 12), 256);
        assert_eq!(nr_slots(4096, 8), 256);
        assert_eq!(nr_slots(64, 8), 0);
    }

    #[test]
    fn a_consumer_is_told_only_when_its_event_is_passed() {
        let published = Published { old: 10, new: 13 };
        assert!(!published.should_notify(10));
        assert!(published.should_notify(11));
        assert!(published.should_notify(13));
        assert!(!published.should_notify(14));
    }

    #[test]
    fn notification_works_over_the_wrap_of_the_index() {
        let published = Published {
            old: u32::MAX,
            new: 1,
        };
        assert!(published.should_notify(0));
        assert!(published.should_notify(1));
        assert!(!published.should_notify(2));
        assert!(!published.should_notify(u32::MAX));
    }

    #[test]
    fn a_producer_fills_the_ring_and_no_more() {
        let mut producer = Producer::new(SLOTS, u32::MAX - 3);
        let answered = u32::MAX - 3;
        for _ in 0..SLOTS {
            assert!(producer.free(answered).is_ok_and(|free| free > 0));
            assert!(producer.take_slot() < SLOTS);
        }
        assert_eq!(producer.free(answered), Ok(0));
        assert_eq!(
            producer.publish(),
            Published {
                old: answered,
                new: producer.index()
            }
        );
    }

    #[test]
    fn answers_to_questions_never_asked_are_refused() {
        let producer = Producer::new(SLOTS, 5);
        assert_eq!(
            producer.free(6),
            Err(Overrun {
                claimed: u32::MAX,
                possible: SLOTS
            })
        );
    }

    #[test]
    fn a_jump_of_the_producers_index_is_refused() {
        let consumer = Consumer::new(SLOTS, 100);
        assert_eq!(consumer.available(100 + SLOTS, SLOTS), Ok(SLOTS));
        assert_eq!(
            consumer.available(101 + SLOTS, SLOTS),
            Err(Overrun {
                claimed: SLOTS + 1,
                possible: SLOTS
            })
        );
        assert!(consumer.available(99, SLOTS).is_err());
        assert!(consumer.available(104, 3).is_err());
    }

    #[test]
    fn a_stream_wraps_at_its_size() {
        assert_eq!(stream_used(1024, u32::MAX, 9), Ok(10));
        assert!(stream_used(1024, 0, 1025).is_err());
        assert_eq!(stream_run(1024, 1020, 10), (1020, 4));
        assert_eq!(stream_run(1024, 2048, 10), (0, 10));
    }
}
