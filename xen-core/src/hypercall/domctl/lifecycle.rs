//! From creation to destruction.

use guest_abi::domctl::{CreateDomain, CreateFlags, Domctl};
use guest_abi::errno::Errno;
use guest_abi::ids::{DomId, DomIdArg};

use super::super::{Call, Stop};
use super::Answer;
use crate::domain::{Config, Domain, DomainRef, Stage, destroy, table};
use crate::{event, grant, sched};

/// The most vCPUs one domain may have: the 2-level event ABI's pending words bound nothing else.
const MAX_VCPUS: u32 = 128;

/// `XEN_DOMCTL_createdomain`: a domain with vCPUs but without memory, paused.
pub(super) fn create(block: &mut Domctl) -> Result<Answer, Stop> {
    let wanted: CreateDomain = block.payload();
    check(&wanted)?;
    let id = choose_id(block.domain)?;
    let domain = Domain::create(&Config {
        id,
        privileged: false,
        handle: wanted.handle,
        max_vcpus: wanted.max_vcpus,
        max_grant_frames: limit(wanted.max_grant_frames, grant::DEFAULT_MAX_FRAMES),
        max_maptrack_frames: limit(
            wanted.max_maptrack_frames,
            grant::DEFAULT_MAX_MAPTRACK_FRAMES,
        ),
        max_event_port: wanted.max_evtchn_port.min(event::MAX_PORT),
    })?;
    table::insert(domain)?;
    block.domain = id.into();
    Ok(Answer::Block)
}

/// Refuses what a PV-only core cannot make.
fn check(wanted: &CreateDomain) -> Result<(), Errno> {
    let flags = CreateFlags::from_bits(wanted.flags).ok_or(Errno::EINVAL)?;
    if flags.intersects(CreateFlags::HVM | CreateFlags::HAP | CreateFlags::NESTED_VIRT) {
        return Err(Errno::EOPNOTSUPP);
    }
    if wanted.max_vcpus == 0 || wanted.max_vcpus > MAX_VCPUS {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// The number asked for, or the next free one when none was.
fn choose_id(asked: DomIdArg) -> Result<DomId, Errno> {
    let asked = DomId::new(asked.get());
    if asked.is_ordinary() && asked != DomId::DOM0 {
        return match table::get(asked) {
            Some(_) => Err(Errno::EEXIST),
            None => Ok(asked),
        };
    }
    table::next_id().ok_or(Errno::ENOMEM)
}

/// A limit on the wire: negative means the default.
fn limit(asked: i32, default: u32) -> u32 {
    u32::try_from(asked).unwrap_or(default)
}

/// `XEN_DOMCTL_destroydomain`: returns when all that can be taken back is taken back.
pub(super) fn destroy(call: &Call<'_>, domain: &DomainRef) -> Result<Answer, Stop> {
    refuse_self(call, domain)?;
    destroy::destroy(domain)?;
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_pausedomain`: when it returns, no vCPU of the domain runs.
pub(super) fn pause(call: &Call<'_>, domain: &DomainRef) -> Result<Answer, Stop> {
    refuse_self(call, domain)?;
    sched::pause(domain);
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_unpausedomain`.
pub(super) fn unpause(domain: &DomainRef) -> Result<Answer, Stop> {
    sched::unpause(domain)?;
    Ok(Answer::Plain)
}

/// `XEN_DOMCTL_resumedomain`: a domain that shut down goes on where it stopped.
pub(super) fn resume(domain: &DomainRef) -> Result<Answer, Stop> {
    match domain.life.stage() {
        Stage::ShutDown(_) => {
            domain.life.resume();
            sched::resume_domain(domain);
            Ok(Answer::Plain)
        }
        Stage::Alive => Ok(Answer::Plain),
        Stage::Dying => Err(Errno::EINVAL.into()),
    }
}

/// Nobody takes the chair they sit on.
fn refuse_self(call: &Call<'_>, domain: &Domain) -> Result<(), Errno> {
    if core::ptr::eq(call.domain(), domain) || domain.id == DomId::DOM0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}
