//! Which address lives behind which port.
//!
//! An address that a port was made with is its own for good. Others are learnt from what comes
//! in, are forgotten when nothing came for a while, and are bounded for each port: one that
//! invents addresses pushes out only its own.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::PortId;
use crate::host::MacAddress;

/// Addresses that a port can teach.
const MAX_LEARNT: usize = 1024;
/// Nanoseconds after which an address that was not heard of is forgotten.
const MAX_AGE: u64 = 300_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: PortId,
    /// When it was last heard of; `None` if it need not be.
    heard: Option<u64>,
}

/// The addresses.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<MacAddress, Entry>,
    /// How many of them each port has taught.
    learnt: BTreeMap<PortId, usize>,
}

impl Table {
    /// Makes an address a port's own. Returns `false` if it is another's already.
    pub(super) fn own(&mut self, mac: MacAddress, port: PortId) -> bool {
        match self.entries.get(&mac) {
            Some(Entry { heard: None, .. }) => return false,
            Some(_) => self.forget(mac),
            None => {}
        }
        self.entries.insert(mac, Entry { port, heard: None });
        true
    }

    /// A frame from `mac` came in through `port`. Returns `false` if it can't have: the address
    /// is another port's own, or a group's.
    pub(super) fn learn(&mut self, mac: MacAddress, port: PortId, now: u64) -> bool {
        if mac.is_group() {
            return false;
        }
        match self.entries.get_mut(&mac) {
            Some(Entry {
                heard: None,
                port: owner,
            }) => return *owner == port,
            Some(entry) if entry.port == port => {
                entry.heard = Some(now);
                return true;
            }
            Some(_) => self.forget(mac),
            None => {}
        }
        if self.learnt.get(&port).copied().unwrap_or(0) >= MAX_LEARNT {
            self.forget_oldest(port);
        }
        let heard = Some(now);
        self.entries.insert(mac, Entry { port, heard });
        *self.learnt.entry(port).or_default() += 1;
        true
    }

    /// Behind which port an address lives, if that is known.
    pub(super) fn find(&self, mac: MacAddress, now: u64) -> Option<PortId> {
        let entry = self.entries.get(&mac)?;
        let fresh = entry
            .heard
            .is_none_or(|heard| now.saturating_sub(heard) <= MAX_AGE);
        fresh.then_some(entry.port)
    }

    /// A port is gone, with all its addresses.
    pub(super) fn remove_port(&mut self, port: PortId) {
        self.entries.retain(|_, entry| entry.port != port);
        self.learnt.remove(&port);
    }

    fn forget(&mut self, mac: MacAddress) {
        if let Some(entry) = self.entries.remove(&mac)
            && let Some(count) = self.learnt.get_mut(&entry.port)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Makes room for what a port has to teach. This takes a walk, so an eighth goes at once.
    fn forget_oldest(&mut self, port: PortId) {
        let mut heard: Vec<u64> = self
            .entries
            .values()
            .filter(|entry| entry.port == port)
            .filter_map(|entry| entry.heard)
            .collect();
        if heard.len() <= MAX_LEARNT / 8 {
            return;
        }
        let (_, limit, _) = heard.select_nth_unstable(MAX_LEARNT / 8);
        let (limit, mut left) = (*limit, MAX_LEARNT / 8);
        self.entries.retain(|_, entry| {
            let old = entry.port == port && entry.heard.is_some_and(|heard| heard <= limit);
            let goes = old && left > 0;
            left -= usize::from(goes);
            !goes
        });
        if let Some(count) = self.learnt.get_mut(&port) {
            *count = count.saturating_sub(MAX_LEARNT / 8 - left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = PortId(1);
    const B: PortId = PortId(2);

    fn mac(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress([2, 0, a, b, c, d])
    }

    #[test]
    fn an_address_moves_to_where_it_was_heard_last() {
        let mut table = Table::default();
        table.learn(mac(1), A, 0);
        assert_eq!(table.find(mac(1), 1), Some(A));
        table.learn(mac(1), B, 2);
        assert_eq!(table.find(mac(1), 3), Some(B));
        assert_eq!(table.learnt.values().sum::<usize>(), 1);
    }

    #[test]
    fn a_port_s_own_address_can_t_be_taken() {
        let mut table = Table::default();
        assert!(table.own(mac(1), A) && !table.own(mac(1), B));
        assert!(!table.learn(mac(1), B, 5));
        assert_eq!(table.find(mac(1), u64::MAX), Some(A), "nor does it age");
        table.learn(mac(2), B, 5);
        assert!(table.own(mac(2), A), "one that was only learnt can");
        table.remove_port(A);
        assert_eq!(table.find(mac(1), 6), None);
    }

    #[test]
    fn an_address_not_heard_of_is_forgotten() {
        let mut table = Table::default();
        table.learn(mac(1), A, 0);
        assert_eq!(table.find(mac(1), MAX_AGE), Some(A));
        assert_eq!(table.find(mac(1), MAX_AGE + 1), None);
    }

    #[test]
    fn a_port_that_invents_addresses_pushes_out_only_its_own() {
        let mut table = Table::default();
        table.learn(mac(1), A, 0);
        for number in 10..100_000 {
            table.learn(mac(number), B, u64::from(number));
        }
        assert_eq!(table.find(mac(1), 0), Some(A));
        assert!(table.entries.len() <= MAX_LEARNT + 1);
        assert_eq!(table.find(mac(99_999), 100_000), Some(B));
        assert_eq!(table.learnt.get(&B), Some(&(table.entries.len() - 1)));
    }

    #[test]
    fn group_addresses_are_never_learnt() {
        let mut table = Table::default();
        table.learn(MacAddress::BROADCAST, A, 0);
        assert_eq!(table.find(MacAddress::BROADCAST, 0), None);
    }
}
