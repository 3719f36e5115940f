//! The attempts, in groups.

use frontends::{
    guest_abi::{
        Mfn,
        mmu::{MmuextCommand as Ext, PteFlags},
        sched::ShutdownReason,
    },
    memory::{Page, TablePage},
    println, sched,
    start::StartOfDay,
};

use crate::calls::{Calls, address};
use crate::copies::copies;

const READ: u64 = PteFlags::PRESENT.bits() | PteFlags::ACCESSED.bits();
const WRITE: u64 = READ | PteFlags::RW.bits() | PteFlags::DIRTY.bits();
const LINK: u64 = WRITE | PteFlags::USER.bits();
const LARGE: u64 = 1 << 7;
/// The first of the L4 entries that are the hypervisor's.
const CORE_SLOT: u64 = 256;

/// Counts what held, and stops at what did not.
pub(crate) struct Verdict {
    held: u32,
}

impl Verdict {
    pub(crate) fn check(&mut self, what: &str, right: bool, answer: i64) {
        if !right {
            println!("{what}: {answer}");
            println!("verdict: failed: {what}");
            sched::shutdown(ShutdownReason::Poweroff)
        }
        self.held += 1;
    }

    pub(crate) fn given(&mut self, what: &str, answer: i64) {
        self.check(what, answer == 0, answer);
    }

    fn refused(&mut self, what: &str, answer: i64) {
        self.check(what, answer < 0, answer);
    }
}

/// Runs all groups.
pub(crate) fn main(_start: &'static StartOfDay) -> ! {
    let mut verdict = Verdict { held: 0 };
    let calls = Calls::new();
    pins(&mut verdict, &calls);
    writable_tables(&mut verdict, &calls);
    linear_tables(&mut verdict, &calls);
    others_frames(&mut verdict, &calls);
    freed_tables(&mut verdict, &calls);
    copies(&mut verdict, &calls);
    println!("verdict: attacks: {} held", verdict.held);
    sched::shutdown(ShutdownReason::Poweroff)
}

/// A page of zeros that is mapped for reading only, and not a table yet.
fn table() -> TablePage {
    let page = Page::zeroed().expect("a page");
    page.into_table().expect("a read-only mapping")
}

fn entry(frame: Mfn, flags: u64) -> u64 {
    frame.to_maddr().get() | flags
}

fn pins(verdict: &mut Verdict, calls: &Calls) {
    let (page, pinned) = (Page::zeroed().expect("a page"), table().frame_forever());
    verdict.refused(
        "pin of a writable page",
        calls.mmuext(Ext::PinL1Table, page.frame()),
    );
    verdict.refused(
        "unpin of what is not pinned",
        calls.mmuext(Ext::UnpinTable, pinned),
    );
    verdict.given("pin", calls.mmuext(Ext::PinL1Table, pinned));
    verdict.refused("second pin", calls.mmuext(Ext::PinL1Table, pinned));
    verdict.refused(
        "pin as another level",
        calls.mmuext(Ext::PinL2Table, pinned),
    );
    verdict.refused("an L1 table as root", calls.mmuext(Ext::NewBaseptr, pinned));
    verdict.refused(
        "an L1 table as user root",
        calls.mmuext(Ext::NewUserBaseptr, pinned),
    );
    verdict.refused("clearing of a table", calls.mmuext(Ext::ClearPage, pinned));
    verdict.given("unpin", calls.mmuext(Ext::UnpinTable, pinned));
    verdict.refused("second unpin", calls.mmuext(Ext::UnpinTable, pinned));
}

fn writable_tables(verdict: &mut Verdict, calls: &Calls) {
    let page = Page::zeroed().expect("a page");
    let (at, frame) = (address(page.pfn()), page.frame());
    let table = page
        .into_table()
        .expect("a read-only mapping")
        .frame_forever();
    verdict.given("pin", calls.mmuext(Ext::PinL1Table, table));
    verdict.refused(
        "a writable mapping of a table",
        calls.map(at, entry(frame, WRITE)),
    );
    verdict.given(
        "a table that maps itself to be read",
        calls.update(table, 0, entry(table, READ)),
    );
    verdict.refused(
        "the same, then writable",
        calls.update(table, 0, entry(table, WRITE)),
    );
    verdict.refused(
        "a table that maps itself writable",
        calls.update(table, 1, entry(table, WRITE)),
    );
    verdict.given("the entry goes", calls.update(table, 0, 0));
    verdict.given("unpin", calls.mmuext(Ext::UnpinTable, table));
    verdict.given(
        "a former table is writable again",
        calls.map(at, entry(frame, WRITE)),
    );
    verdict.refused(
        "pin of what is writable",
        calls.mmuext(Ext::PinL1Table, table),
    );
}

fn linear_tables(verdict: &mut Verdict, calls: &Calls) {
    let levels = [Ext::PinL2Table, Ext::PinL3Table, Ext::PinL4Table];
    for pin in levels {
        let table = table().frame_forever();
        verdict.given("pin", calls.mmuext(pin, table));
        verdict.refused(
            "a table that leads to itself",
            calls.update(table, 0, entry(table, LINK)),
        );
        verdict.refused(
            "a large page",
            calls.update(table, 0, entry(Mfn::new(0), LINK | LARGE)),
        );
        verdict.given("unpin", calls.mmuext(Ext::UnpinTable, table));
    }
    let root = table().frame_forever();
    verdict.given("pin", calls.mmuext(Ext::PinL4Table, root));
    for slot in [CORE_SLOT, CORE_SLOT + 15] {
        verdict.refused("the hypervisor's entry", calls.update(root, slot, 0));
    }
    verdict.refused(
        "a root as an L3 table",
        calls.update(root, 1, entry(root, LINK)),
    );
    verdict.given("unpin", calls.mmuext(Ext::UnpinTable, root));
}

fn others_frames(verdict: &mut Verdict, calls: &Calls) {
    let page = Page::zeroed().expect("a page");
    let at = address(page.pfn());
    // The first megabyte, the core's image, the local APIC, memory that does not exist.
    for frame in [0, 0x200, 0xfee00, 1 << 30, (1 << 40) - 1] {
        for flags in [READ, WRITE] {
            let value = entry(Mfn::new(frame), flags);
            verdict.refused("a frame that is not ours", calls.map(at, value));
        }
        verdict.refused("its pin", calls.mmuext(Ext::PinL1Table, Mfn::new(frame)));
        let gone = calls.give_back(Mfn::new(frame));
        verdict.check("giving it back", gone <= 0, gone);
    }
}

fn freed_tables(verdict: &mut Verdict, calls: &Calls) {
    let page = Page::zeroed().expect("a page");
    let (at, frame) = (address(page.pfn()), page.frame());
    let table = page
        .into_table()
        .expect("a read-only mapping")
        .frame_forever();
    verdict.given("pin", calls.mmuext(Ext::PinL1Table, table));
    // Whatever is answered, the pin and the mapping hold the frame.
    let _ = calls.give_back(frame);
    verdict.refused(
        "a writable mapping of a freed table",
        calls.map(at, entry(frame, WRITE)),
    );
    let _ = calls.mmuext(Ext::UnpinTable, table);
    let _ = calls.map(at, 0);
    let gone = calls.give_back(frame);
    verdict.check("giving it back at last", (0..=1).contains(&gone), gone);
    verdict.refused("a frame that is gone", calls.map(at, entry(frame, READ)));
}
