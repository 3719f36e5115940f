//! `update_descriptor`: one segment descriptor, checked.

use core::sync::atomic::Ordering;

use guest_abi::errno::Errno;
use guest_abi::frame::MachAddr;

use super::{Call, Reply};
use crate::arch::direct_map;
use crate::mm::access::{self, CALL_BUDGET};
use crate::mm::page_type::PageType;
use crate::mm::pagetable::walk::Slot;
use crate::mm::pagetable::{Budget, Refusal};
use crate::trap::descriptor;
use crate::trap::ldt::check_page;

/// Writes a descriptor to a machine address: into a descriptor page in use, or into memory that
/// the guest could write itself.
pub fn update_descriptor(call: &mut Call<'_>) -> Reply {
    let [address, raw, ..] = call.args;
    let slot = Slot::at(MachAddr::new(address)).ok_or(Errno::EINVAL)?;
    let stored = descriptor::check(raw).ok_or(Errno::EINVAL)?;

    let domain = call.domain();
    let mut budget = Budget::new(CALL_BUDGET);
    let result = access::with_space(domain, &mut budget, |space| {
        let write = || {
            if let Some(entry) = direct_map::entries(slot.table).get(slot.index) {
                entry.store(stored, Ordering::Release);
            }
        };
        if space.type_of(slot.table) == Some(PageType::Descriptors) {
            space.get_descriptors(slot.table, check_page)?;
            write();
            space.put_descriptors(slot.table);
        } else {
            let page = space.get_writable(slot.table, domain.id)?;
            write();
            space.put_writable(slot.table, page);
        }
        Ok::<(), Refusal>(())
    });
    result
        .map_err(|refusal| access::refused(domain, format_args!("descriptor update"), refusal))?;
    Ok(0)
}
