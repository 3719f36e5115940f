//! Delivery to real domains: from a decision to bits in the guest's pages and a kicked vCPU.
//!
//! The scheduler is called with no event lock held; in turn, whoever raises an event holds no
//! lock of the scheduler.

use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;
use guest_abi::ids::{DomId, Port, VcpuId, Virq};

use super::port::{PortError, PortState};
use super::table::{Endpoint, Ports};
use super::two_level::{self, PortWords, Raised, Word};
use super::upcall::VcpuInfo;
use super::{bind, virq};
use crate::arch::shared_page::SharedPage;
use crate::domain::{Domain, DomainRef, Vcpu, VcpuRef};
use crate::mm::{self, Hold};
use crate::sched;

const PENDING: usize = core::mem::offset_of!(guest_abi::shared_info::SharedInfo, evtchn_pending);
const MASK: usize = core::mem::offset_of!(guest_abi::shared_info::SharedInfo, evtchn_mask);

/// Calls `action` with the words of `port`.
fn with_words<R>(
    domain: &Domain,
    port: Port,
    action: impl FnOnce(&PortWords<'_, core::sync::atomic::AtomicU64>) -> R,
) -> R {
    let page = SharedPage::new(domain.shared_info.mfn());
    let offset = two_level::word(port) as usize % 64 * 8;
    action(&PortWords {
        pending: page.atomic_u64(PENDING + offset),
        mask: page.atomic_u64(MASK + offset),
    })
}

impl Endpoint for DomainRef {
    fn id(&self) -> DomId {
        self.id
    }

    fn ports(&self) -> &Ports<Self> {
        &self.events.ports
    }

    fn raise(&self, port: Port, vcpu: VcpuId) -> Raised {
        let info = self.vcpu(vcpu).and_then(|vcpu| vcpu.events.info.get());
        let upcall = info.as_ref().map(VcpuInfo::upcall_words);
        with_words(self, port, |words| {
            two_level::raise(port, words, upcall.as_ref())
        })
    }

    fn notify(&self, port: Port, vcpu: VcpuId, raised: Raised) {
        if raised == Raised::Nothing {
            return;
        }
        if raised == Raised::Upcall {
            wake(self, vcpu);
        }
        if self.events.pollers.any() {
            wake_pollers(self, port);
        }
    }

    fn forget(&self, port: Port) {
        with_words(self, port, |words| {
            words.pending.clear_bits(two_level::bit(port))
        });
    }
}

fn wake(domain: &DomainRef, vcpu: VcpuId) {
    if let Some(vcpu) = VcpuRef::new(domain, vcpu) {
        sched::wake(&vcpu);
    }
}

fn wake_pollers(domain: &DomainRef, port: Port) {
    for vcpu in domain.vcpus() {
        if vcpu.events.wish.satisfy(port, &domain.events.pollers) {
            wake(domain, vcpu.id);
        }
    }
}

/// Raises a virtual interrupt of one vCPU (or, for those of the whole domain, of its domain).
/// Nothing happens while it is not bound.
pub fn send_virq(vcpu: &VcpuRef, virq: Virq) {
    if virq.is_per_vcpu() {
        raise_virq(vcpu.domain_ref(), vcpu, virq);
    } else {
        send_global_virq(vcpu.domain_ref(), virq);
    }
}

/// Raises a virtual interrupt of a whole domain. Nothing happens while it is not bound.
pub fn send_global_virq(domain: &DomainRef, virq: Virq) {
    if let Some(boot) = domain.vcpu(VcpuId::new(0)) {
        raise_virq(domain, boot, virq);
    }
}

fn raise_virq(domain: &DomainRef, vcpu: &Vcpu, virq: Virq) {
    if let Some(port) = vcpu.events.virqs.get(virq) {
        bind::raise_source(domain, port, PortState::Virq(virq));
    }
}

/// Binds a new port to a virtual interrupt.
pub(crate) fn bind_virq(domain: &DomainRef, virq: Virq, vcpu: VcpuId) -> Result<Port, PortError> {
    let holder = virq::table_of(virq, vcpu)?;
    let holder = domain.vcpu(holder).ok_or(PortError::NoSuchVcpu)?;
    holder.events.virqs.bind(domain, virq, vcpu)
}

/// Clears the mask bit of an open port, and delivers what waited.
pub(crate) fn unmask(domain: &DomainRef, port: Port) -> Result<(), PortError> {
    let (state, vcpu) = domain.events.ports.status(port)?;
    if state == PortState::Free {
        return Err(PortError::NotOpen);
    }
    let info = domain.vcpu(vcpu).and_then(|vcpu| vcpu.events.info.get());
    let upcall = info.as_ref().map(VcpuInfo::upcall_words);
    let raised = with_words(domain, port, |words| {
        two_level::unmask(port, words, upcall.as_ref())
    });
    if raised == Raised::Upcall {
        wake(domain, vcpu);
    }
    Ok(())
}

/// The vCPU's `vcpu_info`: flags, CR2, time record. `None` for vCPUs that have none yet.
pub fn vcpu_info(vcpu: &Vcpu) -> Option<VcpuInfo> {
    vcpu.events.info.get()
}

/// Whether the vCPU must take an upcall before it goes on in the guest.
pub fn is_upcall_pending(vcpu: &Vcpu) -> bool {
    use two_level::Flag;
    vcpu_info(vcpu)
        .is_some_and(|info| info.upcall_pending().is_set() && !info.upcall_mask().is_set())
}

/// Masks or unmasks upcalls of a vCPU, as entering and leaving its handlers does; says whether
/// they were masked before.
pub fn mask_upcalls(vcpu: &Vcpu, masked: bool) -> bool {
    vcpu_info(vcpu).is_none_or(|info| {
        let was = info
            .upcall_mask()
            .swap(u8::from(masked), core::sync::atomic::Ordering::SeqCst);
        was != 0
    })
}

/// Begins a wait of `vcpu` for any of `ports`; says whether one is pending already, in which
/// case there is no wait. After the wait, however it ended, [`poll_end`] is called.
///
/// # Errors
/// [`PortError::NotOpen`] when one of the ports is not open.
pub fn poll_begin(vcpu: &VcpuRef, ports: &[Port]) -> Result<bool, PortError> {
    let domain = vcpu.domain();
    for port in ports {
        if domain.events.ports.status(*port)?.0 == PortState::Free {
            return Err(PortError::NotOpen);
        }
    }
    vcpu.events.wish.begin(ports, &domain.events.pollers);
    let is_pending = |port: &Port| {
        with_words(domain, *port, |words| {
            words.pending.read() & two_level::bit(*port) != 0
        })
    };
    let ready = ports.iter().any(is_pending);
    if ready {
        poll_end(vcpu);
    }
    Ok(ready)
}

/// Ends a wait, if there still is one.
pub fn poll_end(vcpu: &VcpuRef) {
    vcpu.events.wish.end(&vcpu.domain().events.pollers);
}

/// Moves a vCPU's `vcpu_info` to `offset` in the frame `mfn` of its domain, once. The frame is
/// held as a writable page from now on. The vCPU is the caller's own, or down.
///
/// # Errors
/// `EINVAL` when it was moved before, or for a place or frame that will not do.
pub fn register_vcpu_info(vcpu: &VcpuRef, mfn: Mfn, offset: u32) -> Result<(), Errno> {
    let place = VcpuInfo::try_new(mfn, offset)?;
    mm::hold(vcpu.domain().id, mfn, Hold::Write).map_err(|_| Errno::EINVAL)?;
    if !vcpu.events.info.move_to(place) {
        mm::let_go(mfn, Hold::Write);
        return Err(Errno::EINVAL);
    }
    vcpu.entry.set_vcpu_info(place.core_address());
    Ok(())
}

/// Back to the slot in `shared_info`, for a domain that dies or is reset.
pub(super) fn unregister_vcpu_info(vcpu: &Vcpu) {
    let registered = vcpu.events.info.leave();
    vcpu.entry
        .set_vcpu_info(vcpu_info(vcpu).map_or(0, |info| info.core_address()));
    if let Some(mfn) = registered {
        mm::let_go(mfn, Hold::Write);
    }
}
