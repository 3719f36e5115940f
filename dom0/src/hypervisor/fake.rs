//! A hypervisor in memory, for tests: it keeps the books the real one keeps and refuses on
//! demand, so that what the toolstack leaves behind after a failure can be counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use guest_abi::{
    DomId, Errno, Mfn, PAGE_SIZE, Port, VcpuId, Virq,
    domctl::{CreateDomain, DOMAIN_SHUTDOWN_SHIFT, DomainInfo, DomainInfoFlags, VcpuState},
    mmu::MmuextCommand,
    sched::ShutdownReason,
    sysctl::PhysInfo,
    vcpu::VcpuGuestContext,
};

use super::{ForeignMemory, Hypervisor, MapError, VersionInfo};

type Page = Rc<RefCell<Vec<u8>>>;

/// One domain of the fake.
#[derive(Debug, Default)]
pub(crate) struct FakeDomain {
    pub(crate) info: DomainInfo,
    /// Machine frames by pfn.
    pub(crate) p2m: BTreeMap<u64, u64>,
    pub(crate) grant_frame: u64,
    pub(crate) memory_map_kib: u64,
    pub(crate) ports: u32,
    pub(crate) pinned: Vec<Mfn>,
    pub(crate) context: Option<Box<VcpuGuestContext>>,
}

#[derive(Debug, Default)]
struct State {
    domains: BTreeMap<u16, FakeDomain>,
    pages: BTreeMap<u64, Page>,
    free_pages: u64,
    next_mfn: u64,
    next_domain: u16,
    local_ports: BTreeMap<u32, ()>,
    calls_until_failure: Option<u32>,
    powered_off: bool,
}

/// The fake. Clones are handles on the same host.
#[derive(Clone, Debug)]
pub(crate) struct FakeHypervisor(Rc<RefCell<State>>);

impl FakeHypervisor {
    /// A host with so much free memory.
    pub(crate) fn new(free_mib: u64) -> Self {
        let state = State {
            free_pages: free_mib * 256,
            next_mfn: 0x1000,
            next_domain: 1,
            ..State::default()
        };
        Self(Rc::new(RefCell::new(state)))
    }

    /// Lets the call after `calls` more be refused, and all that follow but the cleaning up.
    pub(crate) fn fail_after(&self, calls: u32) {
        self.0.borrow_mut().calls_until_failure = Some(calls);
    }

    /// Looks at a domain.
    pub(crate) fn with<T>(&self, domain: DomId, look: impl FnOnce(&mut FakeDomain) -> T) -> T {
        look(self.0.borrow_mut().domains.get_mut(&domain.get()).unwrap())
    }

    /// What a leak check would count: domains, free pages, dom0's ports.
    pub(crate) fn books(&self) -> (usize, u64, usize) {
        let state = self.0.borrow();
        (
            state.domains.len(),
            state.free_pages,
            state.local_ports.len(),
        )
    }

    /// Whether the machine was powered off.
    pub(crate) fn is_off(&self) -> bool {
        self.0.borrow().powered_off
    }

    /// Bytes at a pseudo-physical address of a domain.
    pub(crate) fn read(&self, domain: DomId, address: u64, length: usize) -> Vec<u8> {
        let state = self.0.borrow();
        let domain = &state.domains[&domain.get()];
        (address..address + length as u64)
            .map(|at| {
                state.pages[&domain.p2m[&(at >> 12)]].borrow()
                    [usize::try_from(at).unwrap() % PAGE_SIZE]
            })
            .collect()
    }

    /// Ends a domain with a reason, as if by itself.
    pub(crate) fn shut_down(&self, domain: DomId, reason: ShutdownReason) {
        self.with(domain, |domain| {
            domain.info.flags &= !DomainInfoFlags::BLOCKED.bits();
            domain.info.flags |= DomainInfoFlags::SHUTDOWN.bits();
            domain.info.flags |= reason.number() << DOMAIN_SHUTDOWN_SHIFT;
        });
    }

    fn step(&self) -> Result<std::cell::RefMut<'_, State>, Errno> {
        let mut state = self.0.borrow_mut();
        match &mut state.calls_until_failure {
            Some(0) => return Err(Errno::ENOMEM),
            Some(calls) => *calls -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl State {
    fn page(&mut self) -> u64 {
        self.next_mfn += 3;
        let page = Rc::new(RefCell::new(vec![0; PAGE_SIZE]));
        self.pages.insert(self.next_mfn, page);
        self.next_mfn
    }

    fn domain(&mut self, domain: DomId) -> Result<&mut FakeDomain, Errno> {
        self.domains.get_mut(&domain.get()).ok_or(Errno::ESRCH)
    }
}

struct FakeMapping(Vec<Page>);

impl ForeignMemory for FakeMapping {
    fn len(&self) -> usize {
        self.0.len() * PAGE_SIZE
    }
    fn read(&self, offset: usize, to: &mut [u8]) {
        for (index, byte) in to.iter_mut().enumerate() {
            let at = offset + index;
            *byte = self.0[at / PAGE_SIZE].borrow()[at % PAGE_SIZE];
        }
    }
    fn write(&self, offset: usize, from: &[u8]) {
        for (index, byte) in from.iter().enumerate() {
            let at = offset + index;
            self.0[at / PAGE_SIZE].borrow_mut()[at % PAGE_SIZE] = *byte;
        }
    }
    fn zero(&self, offset: usize, len: usize) {
        self.write(offset, &vec![0; len]);
    }
    fn load_u32(&self, offset: usize) -> u32 {
        let mut word = [0; 4];
        self.read(offset, &mut word);
        u32::from_le_bytes(word)
    }
    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }
}

impl Hypervisor for FakeHypervisor {
    fn version(&self) -> VersionInfo {
        VersionInfo {
            major: 4,
            minor: 17,
            extra: ".radon".into(),
            capabilities: "xen-3.0-x86_64".into(),
            virt_start: 0xffff_8000_0000_0000,
            ..VersionInfo::default()
        }
    }
    fn physinfo(&self) -> Result<PhysInfo, Errno> {
        let state = self.0.borrow();
        let used: u64 = state
            .domains
            .values()
            .map(|domain| domain.info.tot_pages)
            .sum();
        Ok(PhysInfo {
            nr_cpus: 2,
            threads_per_core: 1,
            cores_per_socket: 2,
            nr_nodes: 1,
            max_cpu_id: 1,
            cpu_khz: 2_000_000,
            capabilities: 2,
            total_pages: state.free_pages + used,
            free_pages: state.free_pages,
            ..PhysInfo::default()
        })
    }
    fn domains(&self) -> Result<Vec<DomainInfo>, Errno> {
        Ok(self
            .0
            .borrow()
            .domains
            .values()
            .map(|domain| domain.info)
            .collect())
    }
    fn domain(&self, domain: DomId) -> Result<DomainInfo, Errno> {
        Ok(self.0.borrow_mut().domain(domain)?.info)
    }
    fn vcpu(&self, domain: DomId, vcpu: VcpuId) -> Result<VcpuState, Errno> {
        self.0.borrow_mut().domain(domain)?;
        Ok(VcpuState {
            vcpu,
            online: u8::from(vcpu.get() == 0),
            blocked: 1,
            ..VcpuState::default()
        })
    }
    fn vcpu_affinity(&self, _: DomId, _: VcpuId) -> Result<Vec<u8>, Errno> {
        Ok(vec![3])
    }
    fn idle_times(&self) -> Result<Vec<u64>, Errno> {
        Ok(vec![0, 0])
    }
    fn log(&self, _: bool) -> Result<Vec<u8>, Errno> {
        Ok(b"(XEN) hello\n".to_vec())
    }
    fn debug_keys(&self, _: &str) -> Result<(), Errno> {
        Ok(())
    }
    fn create_domain(&self, _: Option<DomId>, config: &CreateDomain) -> Result<DomId, Errno> {
        let mut state = self.step()?;
        let number = state.next_domain;
        state.next_domain += 1;
        let (shared_info, grant_frame) = (state.page(), state.page());
        let info = DomainInfo {
            domain: DomId::new(number).into(),
            flags: DomainInfoFlags::PAUSED.bits(),
            shared_info_frame: Mfn::new(shared_info),
            nr_online_vcpus: 1,
            max_vcpu_id: config.max_vcpus - 1,
            handle: config.handle,
            ..DomainInfo::default()
        };
        state.domains.insert(
            number,
            FakeDomain {
                info,
                grant_frame,
                ..FakeDomain::default()
            },
        );
        Ok(DomId::new(number))
    }
    fn destroy_step(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.0.borrow_mut();
        let entry = state.domain(domain)?;
        // In two halves, as long destructions are.
        if entry.info.flags & DomainInfoFlags::DYING.bits() == 0 {
            entry.info.flags |= DomainInfoFlags::DYING.bits();
            return Err(Errno::ERESTART);
        }
        let gone = state.domains.remove(&domain.get()).unwrap();
        for mfn in gone.p2m.values() {
            state.pages.remove(mfn);
        }
        state.free_pages += gone.p2m.len() as u64;
        Ok(())
    }
    fn pause(&self, domain: DomId) -> Result<(), Errno> {
        self.0.borrow_mut().domain(domain)?.info.flags |= DomainInfoFlags::PAUSED.bits();
        Ok(())
    }
    fn unpause(&self, domain: DomId) -> Result<(), Errno> {
        let mut state = self.step()?;
        let info = &mut state.domain(domain)?.info;
        info.flags &= !DomainInfoFlags::PAUSED.bits();
        info.flags |= DomainInfoFlags::BLOCKED.bits();
        Ok(())
    }
    fn remote_shutdown(&self, domain: DomId, reason: ShutdownReason) -> Result<(), Errno> {
        self.shut_down(domain, reason);
        Ok(())
    }
    fn set_max_vcpus(&self, domain: DomId, _: u32) -> Result<(), Errno> {
        self.step()?.domain(domain).map(drop)
    }
    fn set_max_memory(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        self.step()?.domain(domain)?.info.max_pages = kib / 4;
        Ok(())
    }
    fn set_memory_map(&self, domain: DomId, kib: u64) -> Result<(), Errno> {
        self.step()?.domain(domain)?.memory_map_kib = kib;
        Ok(())
    }
    fn populate(&self, domain: DomId, frames: &mut [u64]) -> Result<usize, Errno> {
        let mut state = self.step()?;
        for (done, frame) in frames.iter_mut().enumerate() {
            if state.free_pages == 0 {
                return Ok(done);
            }
            state.free_pages -= 1;
            let mfn = state.page();
            let entry = state.domain(domain)?;
            entry.p2m.insert(*frame, mfn);
            entry.info.tot_pages += 1;
            *frame = mfn;
        }
        Ok(frames.len())
    }
    fn set_vcpu_context(
        &self,
        domain: DomId,
        _: VcpuId,
        context: &VcpuGuestContext,
    ) -> Result<(), Errno> {
        self.step()?.domain(domain)?.context = Some(Box::new(*context));
        Ok(())
    }
    fn pin(&self, domain: DomId, _: MmuextCommand, table: Mfn) -> Result<(), Errno> {
        self.step()?.domain(domain)?.pinned.push(table);
        Ok(())
    }
    fn map(&self, _: DomId, frames: &[Mfn]) -> Result<Box<dyn ForeignMemory>, MapError> {
        let state = self.step().map_err(|errno| MapError { index: 0, errno })?;
        let page = |(index, mfn): (usize, &Mfn)| {
            let page = state.pages.get(&mfn.get()).cloned();
            page.ok_or(MapError {
                index,
                errno: Errno::EINVAL,
            })
        };
        let pages = frames
            .iter()
            .enumerate()
            .map(page)
            .collect::<Result<_, _>>()?;
        Ok(Box::new(FakeMapping(pages)))
    }
    fn grant_table_frames(&self, domain: DomId, _: u32) -> Result<Vec<Mfn>, Errno> {
        Ok(vec![Mfn::new(self.step()?.domain(domain)?.grant_frame)])
    }
    fn alloc_unbound(&self, domain: DomId, _: DomId) -> Result<Port, Errno> {
        let mut state = self.step()?;
        let entry = state.domain(domain)?;
        entry.ports += 1;
        Ok(Port::new(entry.ports))
    }
    fn bind_interdomain(&self, domain: DomId, remote: Port) -> Result<Port, Errno> {
        let mut state = self.step()?;
        state.domain(domain)?;
        let port = u32::from(domain.get()) * 16 + remote.get();
        state.local_ports.insert(port, ());
        Ok(Port::new(port))
    }
    fn bind_virq(&self, _: Virq) -> Result<Port, Errno> {
        Ok(Port::new(1))
    }
    fn notify(&self, _: Port) {}
    fn close(&self, port: Port) {
        self.0.borrow_mut().local_ports.remove(&port.get());
    }
    fn power_off(&self) {
        self.0.borrow_mut().powered_off = true;
    }
}
