//! The 2-level ABI: pending and mask bits, the vCPU's selector, the upcall flag.
//!
//! ```text
//!   shared_info  pending[64] ── bit per port ── mask[64]
//!                     │ word n
//!   vcpu_info    pending_sel (bit n) ──▶ upcall_pending (one byte)
//! ```
//!
//! Raising a port, each step one atomic operation:
//! 1. set its pending bit; if it was set, somebody else has done or is doing the rest;
//! 2. unless its mask bit is set, set its word's bit in the selector of the vCPU it notifies;
//! 3. if that bit was clear, set the upcall flag: the vCPU must look.
//!
//! The guest clears in the opposite order (flag, selector, pending bit), so a port raised at any
//! moment is either seen by the scan under way or leaves the flag set for the next. All
//! operations are sequentially consistent: step 2 reads the mask after step 1's write, and a
//! guest that unmasks reads the pending bit after its own write, so one of the two sees the other.
//!
//! The guest can write all of these words at any time. It can thereby lose or invent its own
//! events; no other domain's.

use guest_abi::ids::Port;

/// Ports of the 2-level ABI: 64 words of 64 bits.
pub const PORTS: u32 = 4096;

/// An atomic 64-bit word shared with a guest (or a model of one).
pub trait Word {
    /// Sets `bits`; the value before.
    fn set_bits(&self, bits: u64) -> u64;
    /// Clears `bits`; the value before.
    fn clear_bits(&self, bits: u64) -> u64;
    /// The value now.
    fn read(&self) -> u64;
}

/// An atomic byte shared with a guest (or a model of one).
pub trait Flag {
    /// Sets the byte to 0 or 1.
    fn write(&self, on: bool);
    /// Whether the byte is not 0.
    fn is_set(&self) -> bool;
}

impl Word for core::sync::atomic::AtomicU64 {
    fn set_bits(&self, bits: u64) -> u64 {
        self.fetch_or(bits, core::sync::atomic::Ordering::SeqCst)
    }

    fn clear_bits(&self, bits: u64) -> u64 {
        self.fetch_and(!bits, core::sync::atomic::Ordering::SeqCst)
    }

    fn read(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::SeqCst)
    }
}

impl Flag for core::sync::atomic::AtomicU8 {
    fn write(&self, on: bool) {
        self.store(u8::from(on), core::sync::atomic::Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.load(core::sync::atomic::Ordering::SeqCst) != 0
    }
}

/// The two words that hold one port's bits.
#[derive(Debug)]
pub struct PortWords<'a, W> {
    /// The word with its pending bit.
    pub pending: &'a W,
    /// The word with its mask bit.
    pub mask: &'a W,
}

/// The words of a `vcpu_info` that say "look".
#[derive(Debug)]
pub struct UpcallWords<'a, W, B> {
    /// Which words of the pending bits to look at.
    pub selector: &'a W,
    /// Whether to look at all.
    pub pending: &'a B,
}

/// What raising (or unmasking) a port came to.
#[must_use = "an upcall that nobody is told of is a lost wake-up"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// It was pending before (or, unmasking: it is not pending). Nothing to do.
    Nothing,
    /// Newly pending, but masked or already announced: only pollers care.
    Pending,
    /// Newly announced: the vCPU must take an upcall.
    Upcall,
}

/// The bit of `port` within its words.
pub fn bit(port: Port) -> u64 {
    1 << (port.get() % 64)
}

/// The index of the words of `port`.
pub fn word(port: Port) -> u32 {
    port.get() / 64
}

/// Makes `port` pending. Without `upcall` (a vCPU that has no `vcpu_info` yet) the bit waits
/// until one is registered.
pub fn raise<W: Word, B: Flag>(
    port: Port,
    words: &PortWords<'_, W>,
    upcall: Option<&UpcallWords<'_, W, B>>,
) -> Raised {
    if words.pending.set_bits(bit(port)) & bit(port) != 0 {
        return Raised::Nothing;
    }
    if words.mask.read() & bit(port) != 0 {
        return Raised::Pending;
    }
    announce(port, upcall)
}

/// Clears the mask bit of `port` and announces it if it is pending.
pub fn unmask<W: Word, B: Flag>(
    port: Port,
    words: &PortWords<'_, W>,
    upcall: Option<&UpcallWords<'_, W, B>>,
) -> Raised {
    let was_masked = words.mask.clear_bits(bit(port)) & bit(port) != 0;
    if !was_masked || words.pending.read() & bit(port) == 0 {
        return Raised::Nothing;
    }
    announce(port, upcall)
}

fn announce<W: Word, B: Flag>(port: Port, upcall: Option<&UpcallWords<'_, W, B>>) -> Raised {
    let Some(upcall) = upcall else {
        return Raised::Pending;
    };
    let selector = 1 << word(port);
    if upcall.selector.set_bits(selector) & selector != 0 {
        return Raised::Pending;
    }
    upcall.pending.write(true);
    Raised::Upcall
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Flag, PortWords, Raised, UpcallWords, Word, raise, unmask};
    use core::sync::atomic::{AtomicU8, AtomicU64};
    use guest_abi::ids::Port;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    #[derive(Default)]
    struct Page {
        pending: AtomicU64,
        mask: AtomicU64,
        selector: AtomicU64,
        upcall: AtomicU8,
    }

    impl Page {
        fn words(&self) -> PortWords<'_, AtomicU64> {
            PortWords {
                pending: &self.pending,
                mask: &self.mask,
            }
        }

        fn upcall(&self) -> UpcallWords<'_, AtomicU64, AtomicU8> {
            UpcallWords {
                selector: &self.selector,
                pending: &self.upcall,
            }
        }
    }

    #[test]
    fn a_port_is_announced_once_until_consumed() {
        let page = Page::default();
        let port = Port::new(70);
        assert_eq!(
            raise(port, &page.words(), Some(&page.upcall())),
            Raised::Upcall
        );
        assert_eq!(
            raise(port, &page.words(), Some(&page.upcall())),
            Raised::Nothing
        );
        assert_eq!(page.selector.read(), 1 << 1);
        assert!(page.upcall.is_set());
        let neighbour = Port::new(71);
        assert_eq!(
            raise(neighbour, &page.words(), Some(&page.upcall())),
            Raised::Pending
        );
    }

    #[test]
    fn a_masked_port_is_announced_when_unmasked() {
        let page = Page::default();
        let port = Port::new(3);
        page.mask.set_bits(1 << 3);
        assert_eq!(
            raise(port, &page.words(), Some(&page.upcall())),
            Raised::Pending
        );
        assert!(!page.upcall.is_set());
        assert_eq!(
            unmask(port, &page.words(), Some(&page.upcall())),
            Raised::Upcall
        );
        assert_eq!(
            unmask(port, &page.words(), Some(&page.upcall())),
            Raised::Nothing
        );
    }

    #[test]
    fn a_vcpu_without_its_info_keeps_the_bit_for_later() {
        let page = Page::default();
        let none: Option<&UpcallWords<'_, AtomicU64, AtomicU8>> = None;
        assert_eq!(raise(Port::new(5), &page.words(), none), Raised::Pending);
        assert_eq!(page.pending.read(), 1 << 5);
    }

    proptest! {
        /// Whatever the guest has written to the words, raising touches only its own bits.
        #[test]
        fn raising_changes_only_the_bits_of_its_port(
            port in 0u32..64, pending in any::<u64>(), mask in any::<u64>(), selector in any::<u64>()
        ) {
            let page = Page::default();
            page.pending.set_bits(pending);
            page.mask.set_bits(mask);
            page.selector.set_bits(selector);
            let _ = raise(Port::new(port), &page.words(), Some(&page.upcall()));
            prop_assert_eq!(page.pending.read(), pending | 1 << port);
            prop_assert_eq!(page.mask.read(), mask);
            prop_assert_eq!(page.selector.read() & !1, selector & !1);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::{Flag, PortWords, UpcallWords, Word, raise, unmask};
    use guest_abi::ids::Port;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

    struct ModelWord(AtomicU64);
    struct ModelFlag(AtomicBool);

    impl Word for ModelWord {
        fn set_bits(&self, bits: u64) -> u64 {
            self.0.fetch_or(bits, SeqCst)
        }
        fn clear_bits(&self, bits: u64) -> u64 {
            self.0.fetch_and(!bits, SeqCst)
        }
        fn read(&self) -> u64 {
            // A read-modify-write reads the latest value in loom's model, as SeqCst loads do on
            // the machine; loom treats plain SeqCst loads as acquire only.
            self.0.fetch_or(0, SeqCst)
        }
    }

    impl Flag for ModelFlag {
        fn write(&self, on: bool) {
            self.0.swap(on, SeqCst);
        }
        fn is_set(&self) -> bool {
            self.0.fetch_or(false, SeqCst)
        }
    }

    struct Page {
        pending: ModelWord,
        mask: ModelWord,
        selector: ModelWord,
        upcall: ModelFlag,
    }

    impl Page {
        fn new(mask: u64) -> Arc<Self> {
            Arc::new(Self {
                pending: ModelWord(AtomicU64::new(0)),
                mask: ModelWord(AtomicU64::new(mask)),
                selector: ModelWord(AtomicU64::new(0)),
                upcall: ModelFlag(AtomicBool::new(false)),
            })
        }

        fn words(&self) -> PortWords<'_, ModelWord> {
            PortWords {
                pending: &self.pending,
                mask: &self.mask,
            }
        }

        fn upcall(&self) -> UpcallWords<'_, ModelWord, ModelFlag> {
            UpcallWords {
                selector: &self.selector,
                pending: &self.upcall,
            }
        }

        /// A guest's upcall handler: flag, selector, then the unmasked pending bits.
        fn consume(&self) -> u64 {
            let mut seen = 0;
            while self.upcall.0.swap(false, SeqCst) {
                if self.selector.0.swap(0, SeqCst) != 0 {
                    let ready = self.pending.read() & !self.mask.read();
                    seen |= self.pending.clear_bits(ready) & ready;
                }
            }
            seen
        }
    }

    #[test]
    fn two_senders_and_a_consumer_lose_no_event() {
        loom::model(|| {
            let page = Page::new(0);
            let senders: Vec<_> = (1..3)
                .map(|port| {
                    let page = page.clone();
                    loom::thread::spawn(move || {
                        let _ = raise(Port::new(port), &page.words(), Some(&page.upcall()));
                    })
                })
                .collect();
            let mut seen = page.consume();
            for sender in senders {
                sender.join().unwrap();
            }
            seen |= page.consume();
            assert_eq!(seen, 0b110);
        });
    }

    #[test]
    fn an_event_raised_while_its_port_is_unmasked_is_announced() {
        loom::model(|| {
            let page = Page::new(0b10);
            let sender = {
                let page = page.clone();
                loom::thread::spawn(move || {
                    let _ = raise(Port::new(1), &page.words(), Some(&page.upcall()));
                })
            };
            let _ = unmask(Port::new(1), &page.words(), Some(&page.upcall()));
            sender.join().unwrap();
            assert_eq!(page.consume(), 0b10);
        });
    }
}
