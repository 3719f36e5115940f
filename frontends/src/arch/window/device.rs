//! Granted pages for devices, which this program never looks at.

use guest_abi::{DomId, GuestVirtAddr, PAGE_SIZE, grant_table::GrantStatus, ids::GrantRef};

use super::grants::{self, Reach};
use super::{Access, WINDOW, address_of};

/// Pages granted by another domain that only devices reach, until dropped.
///
/// They have addresses in the window, from which a driver learns where devices find them; nothing
/// is mapped there. That saves a page-table entry and a flush for each.
#[derive(Debug)]
pub struct DeviceMapping {
    start: usize,
    count: usize,
}

impl DeviceMapping {
    /// Pages that `owner` has granted to this domain, for devices to read or write.
    ///
    /// # Errors
    ///
    /// Which grant was refused, and why; nothing is mapped then.
    pub fn grants(
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Self, (usize, GrantStatus)> {
        let start = grants::map(owner, references, access, Reach::Devices)?;
        let count = references.len();
        Ok(Self { start, count })
    }

    /// The address that stands for the first byte.
    #[must_use]
    pub fn address(&self) -> GuestVirtAddr {
        GuestVirtAddr::new(address_of(self.start))
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always a page")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.count * PAGE_SIZE
    }
}

impl Drop for DeviceMapping {
    fn drop(&mut self) {
        grants::unmap(self.start, self.count, Reach::Devices);
        WINDOW.lock().release(self.start, self.count);
    }
}
