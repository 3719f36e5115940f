//! The work list of a domain: its partial pages, linked through the frame table.

use guest_abi::frame::Mfn;

use super::Space;
use crate::mm::frame_table::{Links, PageInfo};
use crate::mm::machine::Machine;

impl<M: Machine> Space<'_, M> {
    pub(super) fn link_work(&mut self, mfn: Mfn) {
        let Ok(number) = u32::try_from(mfn.get()) else {
            return;
        };
        let next = self.tables.work;
        self.set_work_links(number, |_| Links {
            prev: Links::NONE,
            next,
        });
        self.set_work_links(next, |links| Links {
            prev: number,
            ..links
        });
        self.tables.work = number;
    }

    pub(super) fn unlink_work(&mut self, mfn: Mfn) {
        let Some(Links { prev, next }) = self.machine.page(mfn).map(PageInfo::work_links) else {
            return;
        };
        self.set_work_links(next, |links| Links { prev, ..links });
        if prev == Links::NONE {
            self.tables.work = next;
        } else {
            self.set_work_links(prev, |links| Links { next, ..links });
        }
    }

    fn set_work_links(&self, number: u32, change: impl FnOnce(Links) -> Links) {
        if number == Links::NONE {
            return;
        }
        if let Some(page) = self.machine.page(Mfn::new(u64::from(number))) {
            page.set_work_links(change(page.work_links()));
        }
    }
}
