//! The roots that vCPUs run on: each in use holds a reference as L4 table.

use guest_abi::frame::Mfn;

use super::access::{CALL_BUDGET, with_space};
use super::hardware::Hardware;
use super::pagetable::entry::Level;
use super::pagetable::{Budget, Space, TableError};
use crate::domain::{Domain, Vcpu};

/// Which of a vCPU's two roots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The guest kernel's.
    Kernel,
    /// The guest user's.
    User,
}

/// The root in use, if there is one.
pub fn root(vcpu: &Vcpu, which: Which) -> Option<Mfn> {
    match which {
        Which::Kernel => Some(vcpu.entry.kernel_root()).filter(|root| root.get() != 0),
        Which::User => vcpu.entry.user_root(),
    }
    .map(|root| root.frame())
}

/// Makes `new` the root of `vcpu`; says whether it was another one before. Loading CR3 is the
/// caller's. The references on the old one are given back.
///
/// # Errors
/// When the frame will not do as a root, or checking it is too much for the budget.
pub fn set_root(
    space: &mut Space<'_, Hardware>,
    vcpu: &Vcpu,
    which: Which,
    new: Option<Mfn>,
) -> Result<bool, TableError> {
    let old = root(vcpu, which);
    if new == old {
        return Ok(false);
    }
    if let Some(mfn) = new {
        space.get_table(mfn, Level::L4)?;
    }
    match which {
        Which::Kernel => {
            let address = new.map_or(guest_abi::frame::MachAddr::new(0), Mfn::to_maddr);
            vcpu.entry.set_kernel_root(address);
        }
        Which::User => vcpu.entry.set_user_root(new.map(Mfn::to_maddr)),
    }
    if let Some(mfn) = old {
        // Only put on the work list, if that was its last use: CR3 may still hold it.
        space.put_table(mfn);
    }
    Ok(true)
}

/// [`set_root`] for a vCPU that is not running: takes the lock of the tables itself.
///
/// # Errors
/// As for [`set_root`].
pub fn install_root(
    domain: &Domain,
    vcpu: &Vcpu,
    which: Which,
    new: Option<Mfn>,
) -> Result<(), TableError> {
    let mut budget = Budget::new(CALL_BUDGET);
    with_space(domain, &mut budget, |space| {
        let result = set_root(space, vcpu, which, new).map(drop);
        // What is left over, the end of the domain's next operation drains.
        space.drain();
        result
    })
}
