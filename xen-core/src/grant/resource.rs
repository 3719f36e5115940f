//! The frames of a grant table, for whoever sets up or looks at the table from outside.

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::DomId;

use super::map::Grants;
use crate::mm;

impl<P> Grants<P> {
    /// How many frames the table may have.
    pub const fn max_frames(&self) -> u32 {
        self.max_frames
    }

    /// The frame numbered `index` of the table, which is `owner`'s and grows as far as needed.
    ///
    /// # Errors
    /// `EINVAL` beyond the table's limit, `ENOMEM` when it cannot grow.
    pub fn frame(&self, owner: DomId, index: u32) -> Result<Mfn, Errno> {
        if index >= self.max_frames {
            return Err(Errno::EINVAL);
        }
        let mut table = self.table.lock();
        table.grow(index + 1, || mm::alloc_xenheap_page(owner))?;
        table.frame(index).ok_or(Errno::EINVAL)
    }
}
