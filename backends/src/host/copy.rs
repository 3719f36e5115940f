//! Copies that the hypervisor makes, in its own form: nothing is converted on the way to it.
//!
//! An end says by itself what it is: a page of dom0's own is named by `DOMID_SELF` and its frame
//! (see [`Host::own`](super::Host::own)), a granted one by its owner, who is never named so.

use guest_abi::DomId;
use guest_abi::grant_table::{CopyEnd, CopyFlags, GrantCopy, GrantStatus};
use guest_abi::ids::{DomIdArg, GrantRef};

/// A place in a page that a domain has granted.
#[must_use]
pub fn granted(domain: DomId, reference: GrantRef, offset: u16) -> CopyEnd {
    CopyEnd::granted(domain.into(), reference, offset)
}

/// Whether it is a place in a page of dom0's own.
#[must_use]
pub fn is_own(end: &CopyEnd) -> bool {
    end.domid == DomIdArg::SELF
}

/// So many bytes further on in the same page. What reaches beyond it, the hypervisor refuses.
#[must_use]
pub fn skip(mut end: CopyEnd, bytes: u16) -> CopyEnd {
    end.offset = end.offset.saturating_add(bytes);
    end
}

/// A copy to be made. As long as nobody has made it, it has failed.
#[must_use]
pub fn copy(source: CopyEnd, dest: CopyEnd, len: u16) -> GrantCopy {
    let mut flags = CopyFlags::empty();
    flags.set(CopyFlags::SOURCE_GREF, !is_own(&source));
    flags.set(CopyFlags::DEST_GREF, !is_own(&dest));
    GrantCopy {
        source,
        dest,
        len,
        flags: flags.bits(),
        status: GrantStatus::GeneralError.number(),
        ..GrantCopy::default()
    }
}

/// How a copy went.
#[must_use]
pub fn status(copy: &GrantCopy) -> GrantStatus {
    GrantStatus::from_number(copy.status).unwrap_or(GrantStatus::GeneralError)
}
