//! Giving pages back to the hypervisor, and taking them again: for the balloon.
//!
//! 1. A page that goes is taken from the free ones, so nobody uses it; its place in the linear map is
//!    emptied and its entry in the p2m list cleared, and only then is the frame given back.
//! 2. A page that comes is entered in the list and mapped before it joins the free ones.
//!
//! What is known of a place without a page is a [`Hole`]. There are no other ways to get one, so a
//! place is never filled twice.

use alloc::{vec, vec::Vec};

use guest_abi::{Mfn, memory::MemoryOp, mmu::Pte};

use super::{CHUNK, MAX_PAGES, NO_FRAME, RAM, RAM_STATE, Ram, address_of};
use crate::arch::{bytes::pointer, hypercall};

/// Pages in one hypercall.
const BATCH: usize = 128;

/// A place of the linear map where there is no page.
#[derive(Debug)]
pub(crate) struct Hole(u64);

impl Ram {
    /// Enters the frame behind a page in the list.
    fn set_frame(&mut self, pfn: u64, frame: u64) {
        if pfn < self.nr_pages {
            let entry = pointer::<u64>(self.p2m + pfn * 8);
            // SAFETY: the list is mapped for good, with an entry for each page the domain started
            // with, and this is the only writer: it holds the lock.
            unsafe { entry.write_volatile(frame) };
            return;
        }
        let place = pfn.checked_sub(self.beyond.start);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(entry) = place.and_then(|place| self.beyond.p2m.get_mut(place)) {
            *entry = frame;
        }
    }

    /// Takes a free page out of the map; its number and the frame that was behind it.
    fn detach(&mut self) -> Option<(u64, u64)> {
        let pfn = self.take()?;
        let frame = self.frame(pfn);
        // SAFETY: the page was free, so nobody relies on its mapping.
        if unsafe { hypercall::update_va_mapping(address_of(pfn), Pte::EMPTY) }.is_err() {
            self.give(pfn);
            return None;
        }
        self.set_frame(pfn, NO_FRAME);
        Some((pfn, frame.get()))
    }

    /// Puts a frame behind a place without a page; whether it is free memory now.
    fn attach(&mut self, pfn: u64, frame: u64) -> bool {
        self.set_frame(pfn, frame);
        let entry = Pte::map(Mfn::new(frame), RAM);
        // SAFETY: nothing was mapped at that place, and the frame is ours alone.
        let mapped = unsafe { hypercall::update_va_mapping(address_of(pfn), entry) };
        match mapped {
            Ok(()) => self.give(pfn),
            Err(_) => self.set_frame(pfn, NO_FRAME),
        }
        mapped.is_ok()
    }
}

/// Gives up to `count` free pages back to the hypervisor; answers how many went.
pub(crate) fn give_back(count: usize, holes: &mut Vec<Hole>) -> usize {
    let mut gone = 0;
    while gone < count {
        let wanted = (count - gone).min(BATCH);
        // Not under the lock: the heap may have to grow.
        holes.reserve(wanted);
        let done = give_back_batch(wanted, holes);
        gone += done;
        if done < wanted {
            break;
        }
    }
    gone
}

fn give_back_batch(wanted: usize, holes: &mut Vec<Hole>) -> usize {
    let mut guard = RAM_STATE.lock();
    let Some(ram) = guard.as_mut() else {
        return 0;
    };
    let (mut pfns, mut frames) = ([0; BATCH], [0; BATCH]);
    let mut detached = 0;
    for (pfn, frame) in pfns.iter_mut().zip(&mut frames).take(wanted) {
        let Some(page) = ram.detach() else { break };
        (*pfn, *frame) = page;
        detached += 1;
    }
    let list = &mut frames[..detached];
    // SAFETY: these frames are mapped nowhere any more.
    let done = unsafe { hypercall::reservation(MemoryOp::DecreaseReservation, list) };
    let done = done.unwrap_or(0).min(detached);
    holes.extend(pfns[..done].iter().map(|&pfn| Hole(pfn)));
    ram.pages_now = ram.pages_now.saturating_sub(done as u64);
    for (&pfn, &frame) in pfns[done..detached].iter().zip(&frames[done..detached]) {
        ram.attach(pfn, frame);
    }
    done
}

/// Takes up to `count` pages from the hypervisor, for places without one; answers how many came.
pub(crate) fn take_more(count: usize, holes: &mut Vec<Hole>) -> usize {
    let mut come = 0;
    while come < count {
        let wanted = (count - come).min(BATCH).min(holes.len());
        let first = holes.len() - wanted;
        let mut list = [0; BATCH];
        for (entry, hole) in list.iter_mut().zip(&holes[first..]) {
            *entry = hole.0;
        }
        let list = &mut list[..wanted];
        let done = take_batch(list);
        // The places that were filled are the first ones of the list.
        holes.drain(first..first + done);
        come += done;
        if done < wanted || wanted == 0 {
            break;
        }
    }
    come
}

/// Fills places: on return the list has the frames of those that were filled.
fn take_batch(list: &mut [u64]) -> usize {
    let mut pfns = [0; BATCH];
    pfns[..list.len()].copy_from_slice(list);
    let mut guard = RAM_STATE.lock();
    let Some(ram) = guard.as_mut() else {
        return 0;
    };
    // SAFETY: new frames for places that have none.
    let done = unsafe { hypercall::reservation(MemoryOp::PopulatePhysmap, list) };
    let done = done.unwrap_or(0).min(list.len());
    for (&pfn, &frame) in pfns.iter().zip(&list[..done]) {
        // A frame that cannot be mapped stays ours and unused.
        ram.attach(pfn, frame);
    }
    ram.pages_now += done as u64;
    done
}

/// Makes places for up to `pages` more pages than the domain started with.
///
/// There is one chance: later calls change nothing.
pub(crate) fn room_beyond(pages: u64, holes: &mut Vec<Hole>) {
    let (start, nothing_yet) = match RAM_STATE.lock().as_ref() {
        Some(ram) => (ram.beyond.start, ram.beyond.p2m.is_empty()),
        None => return,
    };
    let pages = pages.min(MAX_PAGES.saturating_sub(start));
    let Ok(count) = usize::try_from(pages) else {
        return;
    };
    if !nothing_yet || count == 0 {
        return;
    }
    let p2m = vec![NO_FRAME; count];
    holes.reserve(count);
    let mut guard = RAM_STATE.lock();
    let Some(ram) = guard.as_mut() else { return };
    ram.beyond.p2m = p2m;
    for chunk in start / CHUNK..(start + pages).div_ceil(CHUNK) {
        // A table for each chunk; `take` keeps a page at hand for it.
        let Some(page) = ram.take() else { break };
        ram.give(page);
        if ram.map_chunk(chunk).is_err() {
            break;
        }
        let places = chunk * CHUNK..((chunk + 1) * CHUNK).min(start + pages);
        holes.extend(places.rev().map(Hole));
    }
}

/// How many pages the domain has.
pub(crate) fn pages_now() -> u64 {
    let guard = RAM_STATE.lock();
    guard.as_ref().map_or(0, |ram| ram.pages_now)
}
