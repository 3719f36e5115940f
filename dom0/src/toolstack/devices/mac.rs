//! MAC addresses: each once on a host.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::RefCell;

use backends::host::MacAddress;

/// The addresses in use, each with who uses it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Macs(Rc<RefCell<BTreeMap<MacAddress, String>>>);

/// An address that nobody else gets until this is dropped.
#[derive(Debug)]
pub(super) struct MacLease {
    address: MacAddress,
    macs: Macs,
}

impl MacLease {
    /// The address.
    pub(super) fn address(&self) -> MacAddress {
        self.address
    }
}

impl Drop for MacLease {
    fn drop(&mut self) {
        self.macs.0.borrow_mut().remove(&self.address);
    }
}

impl Macs {
    /// Takes an address for `holder`.
    pub(super) fn lease(&self, address: MacAddress, holder: String) -> Result<MacLease, String> {
        if let Some(other) = self.0.borrow().get(&address) {
            return Err(format!(
                "MAC address {address} is in use by {other}; choose another mac="
            ));
        }
        self.0.borrow_mut().insert(address, holder);
        Ok(MacLease {
            address,
            macs: self.clone(),
        })
    }

    /// Takes the address that a domain's network of this number has unless it is given another:
    /// the same one each time, as long as nobody else has it.
    pub(super) fn lease_default(&self, name: &str, id: u32, holder: String) -> MacLease {
        let mut attempt = 0;
        loop {
            let address = default(name, id, attempt);
            // Fails at most as often as there are other cards.
            if let Ok(lease) = self.lease(address, holder.clone()) {
                return lease;
            }
            attempt += 1;
        }
    }
}

/// An address under Xen's own prefix, 00:16:3e.
fn default(name: &str, id: u32, attempt: u32) -> MacAddress {
    let bytes = name
        .bytes()
        .chain(id.to_le_bytes())
        .chain(attempt.to_le_bytes());
    // FNV-1a, its upper half folded in.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [.., a, b, c] = (hash ^ hash >> 32).to_be_bytes();
    // The upper half of the prefix's range is for addresses that nobody administers.
    MacAddress([0x00, 0x16, 0x3e, a & 0x7f, b, c])
}

#[cfg(test)]
mod tests {
    use super::Macs;

    #[test]
    fn a_default_address_is_stable_and_xens_own() {
        let macs = Macs::default();
        let first = macs.lease_default("web", 0, "vif 0 of web".into());
        let address = first.address();
        assert_eq!(address.0[..3], [0x00, 0x16, 0x3e]);
        let second = macs.lease_default("web", 1, "vif 1 of web".into());
        assert_ne!(second.address(), address);
        drop(first);
        assert_eq!(
            macs.lease_default("web", 0, String::new()).address(),
            address
        );
    }

    #[test]
    fn an_address_can_be_had_once() {
        let macs = Macs::default();
        let lease = macs.lease_default("web", 0, "vif 0 of web".into());
        let error = macs.lease(lease.address(), "other".into()).unwrap_err();
        assert!(
            error.contains("in use by vif 0 of web; choose another mac="),
            "{error}"
        );
        let other = macs.lease_default("web", 0, "a twin".into());
        assert_ne!(other.address(), lease.address());
        let address = lease.address();
        drop(lease);
        assert!(macs.lease(address, "other".into()).is_ok());
    }
}
