//! Arrays of grant copies that end where nothing can be read, or nothing written.

use core::sync::atomic::Ordering::Relaxed;

use frontends::{
    guest_abi::{
        PAGE_SIZE,
        errno::Errno,
        grant_table::{GrantCopy, GrantTableOp},
        ids::DomIdArg,
    },
    memory::Page,
};

use crate::calls::{Calls, address, grant_table_op};
use crate::kernel::Verdict;

const REQUEST: usize = size_of::<GrantCopy>();
/// More than are there; beyond these comes the hole.
const COUNT: u64 = 20;
const DONE: usize = 3;
/// What nobody answers.
const UNANSWERED: u64 = 0x5555;

/// Tries both.
pub(crate) fn copies(verdict: &mut Verdict, calls: &Calls) {
    let data = Page::zeroed().expect("a page");
    let (requests, behind) = neighbours();
    let first = PAGE_SIZE - DONE * REQUEST;
    for index in 0..DONE {
        write(&requests, first + index * REQUEST, &data, index);
        data.u64(index * 8).store(index as u64 + 7, Relaxed);
    }
    verdict.given("a hole behind a page", calls.map(address(behind.pfn()), 0));
    let at = address(requests.pfn()) + first as u64;
    let answer = grant_table_op(GrantTableOp::Copy, at, COUNT);
    verdict.check("copies into a hole", answer == FAULT, answer);
    for index in 0..DONE {
        let copied = data.u64(2048 + index * 8).load(Relaxed);
        verdict.check("those before it", copied == index as u64 + 7, index as i64);
        let answered = requests.u64(first + index * REQUEST + 32).load(Relaxed);
        verdict.check("their status", answered >> 32 == 0, index as i64);
    }
    unanswerable(verdict, &data);
    core::mem::forget(behind);
}

/// The first copy is made, its status cannot be written, and the second is not made.
fn unanswerable(verdict: &mut Verdict, data: &Page) {
    let page = Page::zeroed().expect("a page");
    for index in 0..2 {
        write(&page, index * REQUEST, data, index);
        data.u64(index * 8).store(index as u64 + 70, Relaxed);
    }
    let at = address(page.pfn());
    let _table = page.into_table().expect("a read-only mapping");
    let answer = grant_table_op(GrantTableOp::Copy, at, 2);
    verdict.check("copies that cannot be answered", answer == FAULT, answer);
    let [first, second] = [0, 8].map(|offset| data.u64(2048 + offset).load(Relaxed));
    verdict.check("the first of them", first == 70, first.cast_signed());
    verdict.check("the second of them", second == 8, second.cast_signed());
}

const FAULT: i64 = Errno::EFAULT.to_result_register();

/// A request at `offset` of `page`: word `index` of `data` to its second half.
fn write(page: &Page, offset: usize, data: &Page, index: usize) {
    let own = u64::from(DomIdArg::SELF.get());
    let from = own | (index as u64 * 8) << 16;
    let to = own | (2048 + index as u64 * 8) << 16;
    let frame = data.frame().get();
    let words = [frame, from, frame, to, 8 | UNANSWERED << 32];
    for (word, value) in words.into_iter().enumerate() {
        page.u64(offset + word * 8).store(value, Relaxed);
    }
}

/// Two pages, the second right behind the first.
fn neighbours() -> (Page, Page) {
    let mut last = Page::zeroed().expect("a page");
    for _ in 0..64 {
        let next = Page::zeroed().expect("a page");
        if next.pfn().get() == last.pfn().get() + 1 {
            return (last, next);
        }
        if last.pfn().get() == next.pfn().get() + 1 {
            return (next, last);
        }
        core::mem::forget(core::mem::replace(&mut last, next));
    }
    panic!("no two pages lie beside each other")
}
