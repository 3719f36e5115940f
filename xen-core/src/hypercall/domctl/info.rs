//! What the toolstack may know about a domain.

use guest_abi::domctl::{
    DOMAIN_SHUTDOWN_SHIFT, DomainInfo, DomainInfoFlags as Flags, Domctl, GetPageFrameInfo3,
    PFINFO_L1TAB, PFINFO_LPINTAB, PFINFO_LTAB_SHIFT, PFINFO_NOTAB, PFINFO_XTAB, VcpuState,
};
use guest_abi::errno::Errno;
use guest_abi::frame::Mfn;

use super::super::guest_ptr::GuestPtr;
use super::super::{Call, Stop};
use super::Answer;
use crate::domain::{Domain, DomainRef, Stage};
use crate::mm;

/// The most frames one `getpageframeinfo3` answers for.
const MAX_FRAMES: u64 = 1024;

/// `XEN_DOMCTL_getdomaininfo`.
pub(super) fn domain_info(domain: &Domain, block: &mut Domctl) -> Result<Answer, Stop> {
    block.domain = domain.id.into();
    block.set_payload(&describe(domain));
    Ok(Answer::Block)
}

/// A domain's entry in the lists of `xl`.
pub(in super::super) fn describe(domain: &Domain) -> DomainInfo {
    let up = || domain.vcpus().iter().filter(|vcpu| vcpu.sched.is_up());
    DomainInfo {
        domain: domain.id.into(),
        flags: flags(domain),
        tot_pages: domain.memory.total_pages(),
        max_pages: domain.memory.max_pages(),
        shared_info_frame: domain.shared_info.mfn(),
        cpu_time: domain
            .vcpus()
            .iter()
            .map(|vcpu| vcpu.sched.cpu_time_ns())
            .sum(),
        nr_online_vcpus: u32::try_from(up().count()).unwrap_or(u32::MAX),
        max_vcpu_id: u32::try_from(domain.vcpus().len())
            .unwrap_or(0)
            .wrapping_sub(1),
        handle: *domain.handle.lock(),
        ..DomainInfo::default()
    }
}

fn flags(domain: &Domain) -> u32 {
    let mut reason = 0;
    let mut flags = match domain.life.stage() {
        Stage::Alive => activity(domain),
        Stage::ShutDown(why) => {
            reason = why.number();
            Flags::SHUTDOWN
        }
        Stage::Dying => Flags::DYING,
    };
    flags.set(Flags::PAUSED, domain.life.is_paused());
    flags.bits() | reason << DOMAIN_SHUTDOWN_SHIFT
}

/// What the vCPUs of a living domain do. Those of one that is shut down are on their way off
/// their CPUs, which is nobody's business.
fn activity(domain: &Domain) -> Flags {
    let up = || domain.vcpus().iter().filter(|vcpu| vcpu.sched.is_up());
    let mut flags = Flags::empty();
    flags.set(
        Flags::RUNNING,
        up().any(|vcpu| vcpu.sched.running_on().is_some()),
    );
    flags.set(Flags::BLOCKED, up().all(|vcpu| vcpu.sched.is_blocked()));
    flags
}

/// `XEN_DOMCTL_getvcpuinfo`.
pub(super) fn vcpu_info(domain: &Domain, block: &mut Domctl) -> Result<Answer, Stop> {
    let asked: VcpuState = block.payload();
    let vcpu = domain.vcpu(asked.vcpu).ok_or(Errno::ESRCH)?;
    block.set_payload(&VcpuState {
        vcpu: asked.vcpu,
        online: vcpu.sched.is_up().into(),
        blocked: vcpu.sched.is_blocked().into(),
        running: vcpu.sched.running_on().is_some().into(),
        cpu_time: vcpu.sched.cpu_time_ns(),
        cpu: u32::try_from(vcpu.sched.last_cpu().index()).unwrap_or(0),
        ..VcpuState::default()
    });
    Ok(Answer::Block)
}

/// `XEN_DOMCTL_getpageframeinfo3`: replaces each frame number of an array by the frame's type.
pub(super) fn page_frame_info(
    _call: &Call<'_>,
    domain: &DomainRef,
    block: &mut Domctl,
) -> Result<Answer, Stop> {
    let asked: GetPageFrameInfo3 = block.payload();
    if asked.num > MAX_FRAMES {
        return Err(Errno::E2BIG.into());
    }
    let array = GuestPtr::<u64>::new(asked.array.get());
    for index in 0..asked.num {
        let slot = array.at(index)?;
        let mfn = Mfn::new(slot.copy_in()?);
        slot.copy_out(&u64::from(frame_type(domain, mfn)))?;
    }
    Ok(Answer::Plain)
}

fn frame_type(domain: &DomainRef, mfn: Mfn) -> u32 {
    let Some(use_) = mm::frame_use(domain.id, mfn) else {
        return PFINFO_XTAB;
    };
    let table = match use_.table_level {
        Some(level) => PFINFO_L1TAB + ((u32::from(level) - 1) << PFINFO_LTAB_SHIFT),
        None => PFINFO_NOTAB,
    };
    if use_.pinned {
        table | PFINFO_LPINTAB
    } else {
        table
    }
}

#[cfg(test)]
mod tests {
    use super::flags;
    use crate::cpu::CpuId;
    use crate::domain::Domain;
    use guest_abi::domctl::{DOMAIN_SHUTDOWN_SHIFT, DomainInfoFlags as Flags};
    use guest_abi::ids::VcpuId;
    use guest_abi::sched::ShutdownReason;

    #[test]
    fn a_domain_that_is_shut_down_is_never_running() {
        let domain = Domain::fake(0x4d01, 1);
        let vcpu = domain.vcpu(VcpuId::new(0)).unwrap();
        vcpu.sched.pretend_running(CpuId::BOOT);
        let running = Flags::RUNNING | Flags::PAUSED;
        assert_eq!(flags(&domain), running.bits());
        domain.life.shut_down(ShutdownReason::Crash);
        let down = Flags::SHUTDOWN | Flags::PAUSED;
        let reason = ShutdownReason::Crash.number() << DOMAIN_SHUTDOWN_SHIFT;
        assert_eq!(flags(&domain), down.bits() | reason);
        domain.life.start_dying();
        assert_eq!(flags(&domain), (Flags::DYING | Flags::PAUSED).bits());
    }
}
