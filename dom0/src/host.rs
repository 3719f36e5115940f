//! The backends' host, for real: grants, event channels, memory and time by way of the hypervisor.
//!
//! Granted pages appear in the window of `frontends`, where the drivers find the frames behind
//! them, or, when only devices are to reach them, merely have a place there; pages of dom0's own do so only if they would not lie side by side otherwise.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll};

use backends::host::{Access, Channel, GrantRefused, Host, IoMemory, LocalFuture, SharedPage};
use backends::xenstore::Store;
use frontends::arch::bytes::SharedBytes;
use frontends::arch::hypercall;
use frontends::window::{self, DeviceMapping, Mapping};
use frontends::{events, memory, memory::Page};
use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantTableOp};
use guest_abi::ids::{DomIdArg, GrantRef};
use guest_abi::{DomId, Errno, Mfn, Pfn, Port};

use crate::executor::{EventPort, Instant, Runtime};

/// dom0, as backends see it.
pub struct BackendHost {
    runtime: Runtime,
    store: RefCell<Store>,
}

impl fmt::Debug for BackendHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackendHost")
    }
}

impl BackendHost {
    /// A host with an empty store.
    #[must_use]
    pub fn new(runtime: &Runtime) -> Rc<Self> {
        Rc::new(Self {
            runtime: runtime.clone(),
            store: RefCell::default(),
        })
    }
}

impl Host for BackendHost {
    fn map_grants(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused> {
        match Mapping::grants(owner, references, in_window(access)) {
            Ok(mapping) => Ok(Rc::new(Held(mapping))),
            Err((index, status)) => Err(GrantRefused { index, status }),
        }
    }

    fn map_grants_for_devices(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused> {
        match DeviceMapping::grants(owner, references, in_window(access)) {
            Ok(mapping) => Ok(Rc::new(OutOfReach(mapping))),
            Err((index, status)) => Err(GrantRefused { index, status }),
        }
    }

    fn copy_grants(&self, copies: &mut [GrantCopy]) {
        // When the call is refused as a whole, each copy keeps the failure it was made with.
        let _ = hypercall::grant_table_op(GrantTableOp::Copy, copies);
    }

    fn own(&self, memory: &Rc<dyn IoMemory>, offset: usize) -> CopyEnd {
        own_end(memory.address() + offset as u64)
    }

    fn pages(&self, count: usize) -> Result<Rc<dyn IoMemory>, Errno> {
        if count == 1 {
            return Ok(Rc::new(Held(Page::zeroed()?)));
        }
        let pages = (0..count).map(|_| Page::zeroed());
        let mapping = Mapping::pages(pages.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Rc::new(Held(mapping)))
    }

    fn bind(&self, owner: DomId, remote: Port) -> Result<Rc<dyn Channel>, Errno> {
        let port = events::bind_interdomain(owner, remote)?;
        Ok(Rc::new(BoundPort(self.runtime.listen(port))))
    }

    fn store(&self) -> &RefCell<Store> {
        &self.store
    }

    fn now(&self) -> u64 {
        self.runtime.now().as_nanos()
    }

    fn sleep_until(&self, deadline: u64) -> LocalFuture<()> {
        Box::pin(self.runtime.sleep_until(Instant::from_nanos(deadline)))
    }
}

fn in_window(access: Access) -> window::Access {
    match access {
        Access::ReadOnly => window::Access::ReadOnly,
        Access::ReadWrite => window::Access::ReadWrite,
    }
}

/// A place in a page of dom0's. A paravirtualised guest names its pages by machine frame.
fn own_end(address: u64) -> CopyEnd {
    // No page of ours: the hypervisor refuses the copy.
    let place = memory::machine_address(address);
    let (frame, offset) = place.map_or((Mfn::INVALID, 0), |place| {
        (
            place.frame(),
            u16::try_from(place.page_offset()).unwrap_or(0),
        )
    });
    CopyEnd::frame(DomIdArg::SELF, Pfn::new(frame.get()), offset)
}

/// Shared memory together with what keeps it there.
pub(crate) struct Held<M>(pub(crate) M);

impl<M: Deref<Target = SharedBytes>> Held<M> {
    fn fits(&self, offset: usize, len: usize) -> bool {
        let end = offset.checked_add(len);
        end.is_some_and(|end| end <= SharedBytes::len(&self.0))
    }
}

impl<M: Deref<Target = SharedBytes>> SharedPage for Held<M> {
    fn load_u32(&self, offset: usize) -> u32 {
        if !self.fits(offset, 4) {
            return 0;
        }
        self.0.u32(offset).load(Ordering::Acquire)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        if self.fits(offset, 4) {
            self.0.u32(offset).store(value, Ordering::Release);
        }
    }

    fn copy_from(&self, offset: usize, into: &mut [u8]) {
        if self.fits(offset, into.len()) {
            self.0.read(offset, into);
        } else {
            into.fill(0);
        }
    }

    fn copy_to(&self, offset: usize, from: &[u8]) {
        if self.fits(offset, from.len()) {
            self.0.write(offset, from);
        }
    }
}

impl<M: Deref<Target = SharedBytes>> IoMemory for Held<M> {
    fn len(&self) -> usize {
        SharedBytes::len(&self.0)
    }

    fn address(&self) -> u64 {
        SharedBytes::address(&self.0)
    }
}

/// Pages that only devices reach. Whoever looks at their bytes nevertheless finds zeros.
struct OutOfReach(DeviceMapping);

impl SharedPage for OutOfReach {
    fn load_u32(&self, _: usize) -> u32 {
        0
    }

    fn store_u32(&self, _: usize, _: u32) {}

    fn copy_from(&self, _: usize, into: &mut [u8]) {
        into.fill(0);
    }

    fn copy_to(&self, _: usize, _: &[u8]) {}
}

impl IoMemory for OutOfReach {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn address(&self) -> u64 {
        self.0.address().get()
    }
}

/// Our end of an event channel.
struct BoundPort(EventPort);

impl Channel for BoundPort {
    fn notify(&self) {
        // Refused only when the other end is gone, and then there is nobody to tell.
        let _ = events::send(self.0.port());
    }

    fn poll_event(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_event(context)
    }
}

impl Drop for BoundPort {
    fn drop(&mut self) {
        // A port of ours, closed once: it cannot be refused.
        let _ = events::close(self.0.port());
    }
}
