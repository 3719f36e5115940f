//! The last step to a guest: into its buffers, into its queue, or nowhere.

use alloc::rc::Rc;

use super::plan::Plan;
use super::ring::overrun;
use super::rx::Load;
use super::rx::held::Held;
use super::scratch::Fate;
use super::vif::{QueueRef, Vif};
use crate::xenbus::Refusal;

/// Plans a packet's way into a guest's buffers. When there are none, `keep` says what is to wait
/// for them, if anything may.
pub(super) fn place(
    to: &Rc<Vif>,
    header: &[u8],
    load: &Load<'_>,
    plan: &mut Plan,
    now: u64,
    keep: Option<impl FnOnce() -> Option<Held>>,
) -> Fate {
    let queue = QueueRef {
        vif: to.clone(),
        index: to.choose(header),
    };
    let fate = try_place(&queue, load, plan, now, keep).unwrap_or_else(|refusal| {
        to.refuse(refusal);
        Fate::Dropped
    });
    match fate {
        Fate::Sent => to.counters.received.pass(load.size),
        Fate::Dropped => to.counters.received.drop(),
        // Its task asks for buffers, and counts what comes of it.
        Fate::Held => to.signal.notify(),
    }
    fate
}

fn try_place(
    queue: &QueueRef,
    load: &Load<'_>,
    plan: &mut Plan,
    now: u64,
    keep: Option<impl FnOnce() -> Option<Held>>,
) -> Result<Fate, Refusal> {
    let Some(ends) = queue.get() else {
        return Ok(Fate::Dropped);
    };
    let rx = &mut *ends.rx.borrow_mut();
    if !rx.is_served().map_err(overrun)? {
        return Ok(Fate::Dropped);
    }
    let party = plan.party(queue);
    if !rx.is_waiting() {
        let placed = rx.place(load, queue.vif.domain, party, plan);
        if placed.map_err(overrun)? {
            return Ok(Fate::Sent);
        }
    }
    let kept = keep.filter(|_| rx.may_hold()).and_then(|keep| keep());
    Ok(match kept {
        Some(held) => {
            rx.hold(held, now);
            Fate::Held
        }
        None => Fate::Dropped,
    })
}
