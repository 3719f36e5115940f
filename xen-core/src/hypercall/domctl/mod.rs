//! `domctl`: the toolstack's questions and orders about one domain.
//!
//! Only a privileged caller gets past the first line, and learns nothing about which domains
//! exist before it. The argument is one [`Domctl`] block, copied in once and copied back when an
//! order has something to answer.

mod context;
mod info;
mod lifecycle;
mod settings;

use guest_abi::domctl::{Domctl, DomctlCommand, INTERFACE_VERSION};
use guest_abi::errno::Errno;

pub(super) use info::describe;

use super::guest_ptr::GuestPtr;
use super::{Call, Reply, Stop};
use crate::domain::DomainRef;

/// What an order did with its block.
enum Answer {
    /// Nothing to tell.
    Plain,
    /// The block was changed and goes back to the caller.
    Block,
}

/// `domctl(block)`.
///
/// # Errors
/// `EPERM` for unprivileged callers, `EACCES` for another interface version, `ENOSYS` for orders
/// that the core leaves out, `ESRCH` for a domain that does not exist.
pub fn domctl(call: &mut Call<'_>) -> Reply {
    call.require_privilege()?;
    let ptr = GuestPtr::<Domctl>::new(call.args[0]);
    let mut block = ptr.copy_in()?;
    if block.interface_version != INTERFACE_VERSION {
        return Err(Errno::EACCES.into());
    }
    let command = DomctlCommand::from_number(block.cmd).ok_or(Errno::ENOSYS)?;
    let answer = if command == DomctlCommand::Createdomain {
        lifecycle::create(&mut block)?
    } else {
        let domain = call.lookup(block.domain)?;
        order(call, command, &domain, &mut block)?
    };
    if matches!(answer, Answer::Block) {
        ptr.copy_out(&block)?;
    }
    Ok(0)
}

/// Carries out an order about an existing domain.
fn order(
    call: &Call<'_>,
    command: DomctlCommand,
    domain: &DomainRef,
    block: &mut Domctl,
) -> Result<Answer, Stop> {
    use DomctlCommand as C;
    match command {
        C::Destroydomain => lifecycle::destroy(call, domain),
        C::Pausedomain => lifecycle::pause(call, domain),
        C::Unpausedomain => lifecycle::unpause(domain),
        C::Resumedomain => lifecycle::resume(domain),
        C::Getdomaininfo => info::domain_info(domain, block),
        C::Getvcpuinfo => info::vcpu_info(domain, block),
        C::Getpageframeinfo3 => info::page_frame_info(call, domain, block),
        C::Setvcpucontext => context::set(call, domain, block),
        C::Getvcpucontext => context::get(call, domain, block),
        C::MaxMem => settings::max_mem(domain, block),
        C::MaxVcpus => settings::max_vcpus(domain, block),
        C::Setdomainhandle => settings::handle(domain, block),
        C::SchedulerOp => settings::scheduler(domain, block),
        C::Setvcpuaffinity => settings::set_affinity(domain, block),
        C::Getvcpuaffinity => settings::get_affinity(domain, block),
        C::SetAddressSize => settings::set_address_size(block),
        C::GetAddressSize => settings::get_address_size(block),
        C::Settscinfo | C::Settimeoffset | C::Setnodeaffinity | C::SetVirqHandler => {
            Ok(Answer::Plain)
        }
        C::Gettscinfo => settings::get_tsc_info(block),
        C::IrqPermission | C::IomemPermission | C::IoportPermission => Ok(Answer::Plain),
        _ => Err(Errno::ENOSYS.into()),
    }
}
