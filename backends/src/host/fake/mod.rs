//! A host in memory, for tests: pages, grants, channels, a clock that the test turns, a disk.

mod disk;

pub use disk::FakeDisk;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::{Rc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::task::{Context, Poll, Waker};

use guest_abi::grant_table::{CopyEnd, GrantCopy, GrantStatus};
use guest_abi::ids::{DomIdArg, GrantRef};
use guest_abi::{DomId, Errno, PAGE_SIZE, Pfn, Port};

use super::{Access, Channel, GrantRefused, Host, IoMemory, LocalFuture, SharedPage, copy};
use crate::signal::Signal;
use crate::xenstore::Store;

/// Pages both "sides" of a test hold a handle to: clones are the same memory.
#[derive(Clone, Debug)]
pub struct FakePage(Rc<RefCell<Vec<u8>>>);

impl Default for FakePage {
    fn default() -> Self {
        Self::new()
    }
}

impl FakePage {
    /// A page of zeros.
    #[must_use]
    pub fn new() -> Self {
        Self::with_pages(1)
    }

    /// Several pages of zeros, side by side.
    #[must_use]
    pub fn with_pages(count: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![0; count * PAGE_SIZE])))
    }
}

impl SharedPage for FakePage {
    fn load_u32(&self, offset: usize) -> u32 {
        let mut word = [0; 4];
        self.copy_from(offset, &mut word);
        u32::from_le_bytes(word)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.copy_to(offset, &value.to_le_bytes());
    }

    fn copy_from(&self, offset: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.borrow()[offset..offset + into.len()]);
    }

    fn copy_to(&self, offset: usize, from: &[u8]) {
        self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }
}

impl IoMemory for FakePage {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn address(&self) -> u64 {
        Rc::as_ptr(&self.0).addr() as u64
    }
}

/// Granted pages mapped side by side: each stays the guest's own.
struct FakeMapping {
    pages: Vec<FakePage>,
    access: Access,
    mapped: Rc<Cell<usize>>,
}

impl FakeMapping {
    /// Calls `each` with every page touched by a range: the page, the offset in it, and the part
    /// of the range.
    fn split(
        offset: usize,
        len: usize,
        mut each: impl FnMut(usize, usize, core::ops::Range<usize>),
    ) {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let part = (PAGE_SIZE - at % PAGE_SIZE).min(len - done);
            each(at / PAGE_SIZE, at % PAGE_SIZE, done..done + part);
            done += part;
        }
    }
}

impl SharedPage for FakeMapping {
    fn load_u32(&self, offset: usize) -> u32 {
        self.pages[offset / PAGE_SIZE].load_u32(offset % PAGE_SIZE)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.copy_to(offset, &value.to_le_bytes());
    }

    fn copy_from(&self, offset: usize, into: &mut [u8]) {
        Self::split(offset, into.len(), |page, at, part| {
            self.pages[page].copy_from(at, &mut into[part]);
        });
    }

    fn copy_to(&self, offset: usize, from: &[u8]) {
        assert_eq!(
            self.access,
            Access::ReadWrite,
            "a write through a read-only mapping"
        );
        Self::split(offset, from.len(), |page, at, part| {
            self.pages[page].copy_to(at, &from[part]);
        });
    }
}

impl IoMemory for FakeMapping {
    fn len(&self) -> usize {
        self.pages.len() * PAGE_SIZE
    }

    fn address(&self) -> u64 {
        self.pages[0].address()
    }
}

impl Drop for FakeMapping {
    fn drop(&mut self) {
        self.mapped.set(self.mapped.get() - self.pages.len());
    }
}

/// A channel whose two ends a test can see.
#[derive(Clone, Debug, Default)]
pub struct FakeChannel {
    /// How often the backend told the guest something.
    pub notified: Rc<Cell<u32>>,
    to_backend: Rc<Signal>,
    seen: Rc<Cell<u64>>,
    open: Rc<Cell<bool>>,
}

impl FakeChannel {
    /// The guest tells the backend something.
    pub fn send(&self) {
        self.to_backend.notify();
    }

    /// Whether the backend's end is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.get()
    }
}

struct BackendEnd(FakeChannel);

impl Channel for BackendEnd {
    fn notify(&self) {
        self.0.notified.set(self.0.notified.get() + 1);
    }

    fn poll_event(&self, context: &mut Context<'_>) -> Poll<()> {
        let end = &self.0;
        let ready = end.to_backend.poll_after(end.seen.get(), context);
        if ready.is_ready() {
            end.seen.set(end.to_backend.count());
        }
        ready
    }
}

impl Drop for BackendEnd {
    fn drop(&mut self) {
        self.0.open.set(false);
    }
}

/// More pages than any memory has that copies name.
const PAGES_NAMED: usize = 0x1_0000;

/// The fake host.
#[derive(Default)]
pub struct FakeHost {
    store: RefCell<Store>,
    grants: RefCell<BTreeMap<(DomId, GrantRef), (FakePage, Access)>>,
    channels: RefCell<BTreeMap<(DomId, Port), FakeChannel>>,
    mapped: Rc<Cell<usize>>,
    for_devices: Cell<usize>,
    now: Rc<Cell<u64>>,
    sleepers: Rc<RefCell<Vec<Waker>>>,
    /// Memory that copies may name: by its place here, and the page in it.
    named: RefCell<Vec<Weak<dyn IoMemory>>>,
}

impl fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeHost")
    }
}

impl FakeHost {
    /// A host without anything.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// A guest grants a page to dom0.
    pub fn grant(&self, domain: DomId, reference: GrantRef, page: &FakePage, access: Access) {
        let mut grants = self.grants.borrow_mut();
        grants.insert((domain, reference), (page.clone(), access));
    }

    /// A guest revokes a grant.
    pub fn revoke(&self, domain: DomId, reference: GrantRef) {
        self.grants.borrow_mut().remove(&(domain, reference));
    }

    /// A guest opens a port for dom0.
    pub fn open_port(&self, domain: DomId, port: Port) -> FakeChannel {
        let channel = FakeChannel::default();
        let mut channels = self.channels.borrow_mut();
        channels.insert((domain, port), channel.clone());
        channel
    }

    /// Granted pages that were mapped for devices alone, ever.
    #[must_use]
    pub fn mapped_for_devices(&self) -> usize {
        self.for_devices.get()
    }

    /// Granted pages that are mapped at the moment.
    #[must_use]
    pub fn mapped(&self) -> usize {
        self.mapped.get()
    }

    /// Lets time pass.
    pub fn advance(&self, nanos: u64) {
        self.now.set(self.now.get() + nanos);
        self.sleepers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn granted(
        &self,
        domain: DomId,
        reference: GrantRef,
        wanted: Access,
    ) -> Result<FakePage, GrantStatus> {
        match self.grants.borrow().get(&(domain, reference)) {
            None => Err(GrantStatus::BadGntref),
            Some((_, Access::ReadOnly)) if wanted == Access::ReadWrite => {
                Err(GrantStatus::PermissionDenied)
            }
            Some((page, _)) => Ok(page.clone()),
        }
    }

    /// The memory that one end of a copy names, and where in it the copy begins.
    fn end(&self, end: &CopyEnd, access: Access) -> Result<(Rc<dyn IoMemory>, usize), GrantStatus> {
        let offset = usize::from(end.offset);
        if !copy::is_own(end) {
            let domain = end.domid.resolve(DomId::DOM0);
            let page = self.granted(domain, end.reference(), access)?;
            return Ok((Rc::new(page), offset));
        }
        let frame = usize::try_from(end.what).map_err(|_| GrantStatus::BadPage)?;
        let (place, page) = (frame / PAGES_NAMED, frame % PAGES_NAMED);
        let named = self.named.borrow();
        let memory = named.get(place).and_then(Weak::upgrade);
        let memory = memory.ok_or(GrantStatus::BadPage)?;
        Ok((memory, page * PAGE_SIZE + offset))
    }

    fn copy(&self, copy: &GrantCopy) -> Result<(), GrantStatus> {
        let mut bytes = vec![0; usize::from(copy.len)];
        let fits = |end: &CopyEnd| usize::from(end.offset) + bytes.len() <= PAGE_SIZE;
        if !fits(&copy.source) || !fits(&copy.dest) {
            return Err(GrantStatus::BadCopyArg);
        }
        let (source, at) = self.end(&copy.source, Access::ReadOnly)?;
        source.copy_from(at, &mut bytes);
        let (dest, at) = self.end(&copy.dest, Access::ReadWrite)?;
        dest.copy_to(at, &bytes);
        Ok(())
    }
}

impl Host for FakeHost {
    fn map_grants(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused> {
        let pages = references.iter().enumerate().map(|(index, &reference)| {
            self.granted(owner, reference, access)
                .map_err(|status| GrantRefused { index, status })
        });
        let pages = pages.collect::<Result<Vec<_>, _>>()?;
        self.mapped.set(self.mapped.get() + pages.len());
        Ok(Rc::new(FakeMapping {
            pages,
            access,
            mapped: self.mapped.clone(),
        }))
    }

    fn map_grants_for_devices(
        &self,
        owner: DomId,
        references: &[GrantRef],
        access: Access,
    ) -> Result<Rc<dyn IoMemory>, GrantRefused> {
        // A fake disk is its own device, so the bytes stay in reach.
        let mapped = self.map_grants(owner, references, access)?;
        self.for_devices
            .set(self.for_devices.get() + references.len());
        Ok(mapped)
    }

    fn copy_grants(&self, copies: &mut [GrantCopy]) {
        for copy in copies {
            let status = self.copy(copy).err().unwrap_or(GrantStatus::Okay);
            copy.status = status.number();
        }
    }

    fn own(&self, memory: &Rc<dyn IoMemory>, offset: usize) -> CopyEnd {
        let mut named = self.named.borrow_mut();
        let is_it = |weak: &Weak<dyn IoMemory>| {
            weak.upgrade()
                .is_some_and(|known| Rc::ptr_eq(&known, memory))
        };
        let known = named.iter().position(is_it);
        let free = || named.iter().position(|weak| weak.strong_count() == 0);
        let place = known.or_else(free).unwrap_or(named.len());
        match named.get_mut(place) {
            Some(weak) => *weak = Rc::downgrade(memory),
            None => named.push(Rc::downgrade(memory)),
        }
        let frame = (place * PAGES_NAMED + offset / PAGE_SIZE) as u64;
        let offset = u16::try_from(offset % PAGE_SIZE).unwrap_or(0);
        CopyEnd::frame(DomIdArg::SELF, Pfn::new(frame), offset)
    }

    fn pages(&self, count: usize) -> Result<Rc<dyn IoMemory>, Errno> {
        Ok(Rc::new(FakePage::with_pages(count)))
    }

    fn bind(&self, owner: DomId, remote: Port) -> Result<Rc<dyn Channel>, Errno> {
        let channels = self.channels.borrow();
        let channel = channels.get(&(owner, remote)).ok_or(Errno::EINVAL)?;
        if channel.open.replace(true) {
            return Err(Errno::EINVAL);
        }
        Ok(Rc::new(BackendEnd(channel.clone())))
    }

    fn store(&self) -> &RefCell<Store> {
        &self.store
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn sleep_until(&self, deadline: u64) -> LocalFuture<()> {
        let (now, sleepers) = (self.now.clone(), self.sleepers.clone());
        Box::pin(core::future::poll_fn(move |context| {
            if now.get() >= deadline {
                return Poll::Ready(());
            }
            sleepers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        }))
    }
}
