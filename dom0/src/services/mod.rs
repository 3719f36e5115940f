//! The backends at work: each domain's rings, mapped, listened to and served.
//!
//! The backends themselves know no machine; here they meet the hypervisor and
//! the executor. One small task serves one ring, and ends with it.

pub mod console;
mod link;
pub mod store;

#[cfg(test)]
pub(crate) mod tests {
    use alloc::boxed::Box;

    use guest_abi::{DomId, Mfn, domctl::CreateDomain};

    use crate::hypervisor::{ForeignMemory, Hypervisor, fake::FakeHypervisor};

    /// A domain with one page, seen from inside.
    pub(crate) fn guest_page(hypervisor: &FakeHypervisor) -> (DomId, Mfn, Box<dyn ForeignMemory>) {
        let config = CreateDomain {
            max_vcpus: 1,
            ..CreateDomain::default()
        };
        let domain = hypervisor.create_domain(None, &config).unwrap();
        let mut frames = [0];
        hypervisor.populate(domain, &mut frames).unwrap();
        let frame = Mfn::new(frames[0]);
        let page = hypervisor.map(domain, &[frame]).unwrap();
        (domain, frame, page)
    }
}
