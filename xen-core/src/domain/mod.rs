//! Domains: who exists, what each may do, how each ends.
//!
//! A [`Domain`] owns its vCPUs, its memory account and the tables by which it talks to others. It
//! lives behind an [`Arc`]: the domain table holds one reference, and so does whoever runs, maps
//! or signals it, so nothing is freed under a user's feet. Each part guards itself with a lock of
//! its own; no lock covers a whole domain.

pub mod destroy;
pub mod life;
pub mod shared_info;
pub mod table;
pub mod vcpu;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_abi::errno::Errno;
use guest_abi::ids::{DomId, VcpuId};
use guest_abi::sched::ShutdownReason;

pub use life::{Life, Stage};
pub use shared_info::SharedInfoPage;
pub use vcpu::{Vcpu, VcpuRef};

use crate::cpu::AtomicCpuMask;
use crate::debug::console::GuestConsole;
use crate::effect::CrashReason;
use crate::event::DomainEvents;
use crate::grant::DomainGrants;
use crate::mm::DomainMemory;
use crate::mm::pagetable::Tables;
use crate::sched::DomainSched;
use crate::sync::SpinLock;

/// A shared hold on a domain.
pub type DomainRef = Arc<Domain>;

/// What a domain is created with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number.
    pub id: DomId,
    /// Whether it is the toolstack's domain.
    pub privileged: bool,
    /// Its UUID.
    pub handle: [u8; 16],
    /// How many vCPUs it may have.
    pub max_vcpus: u32,
    /// How many grant-table frames it may have.
    pub max_grant_frames: u32,
    /// How many maptrack frames it may have.
    pub max_maptrack_frames: u32,
    /// The highest event-channel port it may use.
    pub max_event_port: u32,
}

/// One guest.
#[derive(Debug)]
pub struct Domain {
    /// Its number.
    pub id: DomId,
    /// Whether it is the toolstack's domain.
    pub privileged: bool,
    /// Its UUID, as the toolstack set it.
    pub handle: SpinLock<[u8; 16]>,
    /// Where it stands between creation and death.
    pub life: Life,
    /// The page that it shares with the core.
    pub shared_info: SharedInfoPage,
    /// Its frames and their limits.
    pub memory: DomainMemory,
    /// Its page tables: whoever changes any of them holds this lock.
    pub tables: SpinLock<Tables>,
    /// Its event channels.
    pub events: DomainEvents,
    /// Its grant table and what it has mapped of others.
    pub grants: DomainGrants,
    /// Its share of the CPUs.
    pub sched: DomainSched,
    /// Its lines on the emergency console.
    pub console: GuestConsole,
    /// CPUs whose TLBs may hold translations of its address spaces.
    pub dirty_cpus: AtomicCpuMask,
    /// `VMASST_TYPE_*` bits that are on.
    assists: AtomicU64,
    vcpus: Box<[Vcpu]>,
}

impl Domain {
    /// A domain with no memory, all of whose vCPUs are down.
    ///
    /// # Errors
    /// `ENOMEM` when the core has no room for it.
    pub fn create(config: &Config) -> Result<DomainRef, Errno> {
        let shared_info = SharedInfoPage::create(config.id)?;
        let domain = Self::around(shared_info, config)?;
        crate::time::publish(&domain);
        Ok(domain)
    }

    /// The same, with the page that it shares given.
    fn around(shared_info: SharedInfoPage, config: &Config) -> Result<DomainRef, Errno> {
        let mut vcpus = alloc::vec::Vec::new();
        vcpus
            .try_reserve_exact(config.max_vcpus as usize)
            .map_err(|_| Errno::ENOMEM)?;
        vcpus.extend((0..config.max_vcpus).map(|id| Vcpu::new(VcpuId::new(id), shared_info.mfn())));
        let domain = Arc::new(Self {
            id: config.id,
            privileged: config.privileged,
            handle: SpinLock::new(config.handle),
            life: Life::new(),
            shared_info,
            memory: DomainMemory::new(config.id),
            tables: SpinLock::new(Tables::new()),
            events: DomainEvents::new(config.max_event_port),
            grants: DomainGrants::new(config.max_grant_frames, config.max_maptrack_frames),
            sched: DomainSched::new(),
            console: GuestConsole::new(),
            dirty_cpus: AtomicCpuMask::new(),
            assists: AtomicU64::new(0),
            vcpus: vcpus.into_boxed_slice(),
        });
        Ok(domain)
    }

    /// A domain for tests of what lives in one: paused, and without memory.
    #[cfg(test)]
    pub(crate) fn fake(id: u16, max_vcpus: u32) -> DomainRef {
        let id = DomId::new(id);
        let config = Config {
            id,
            privileged: id == DomId::DOM0,
            handle: [0; 16],
            max_vcpus,
            max_grant_frames: 1,
            max_maptrack_frames: 1,
            max_event_port: 4095,
        };
        Self::around(SharedInfoPage::fake(id), &config).expect("a test has memory")
    }

    /// All its vCPUs, up or down; a vCPU's index is its id.
    pub fn vcpus(&self) -> &[Vcpu] {
        &self.vcpus
    }

    /// One of its vCPUs.
    pub fn vcpu(&self, id: VcpuId) -> Option<&Vcpu> {
        self.vcpus.get(id.get() as usize)
    }

    /// Whether the `VMASST_TYPE_*` numbered `assist` is on.
    pub fn assists(&self, assist: u32) -> bool {
        self.assists.load(Ordering::Relaxed) >> assist & 1 != 0
    }

    /// Turns the `VMASST_TYPE_*` numbered `assist` (below 64) on or off.
    pub fn set_assist(&self, assist: u32, on: bool) {
        let bit = 1u64.checked_shl(assist).unwrap_or(0);
        if on {
            self.assists.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.assists.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Ends the domain because it went past trusting: it stays as crashed (`c`) until the
    /// toolstack has looked at it.
    pub fn crash(&self, vcpu: Option<VcpuId>, reason: CrashReason) {
        let vcpu = vcpu.map_or(-1, |v| i64::from(v.get()));
        log::warn!("d{}v{vcpu}: crashed: {reason}", self.id);
        self.shutdown(ShutdownReason::Crash);
    }

    /// Stops all vCPUs for good, records why and tells the toolstack. Only the
    /// first reason counts.
    pub fn shutdown(&self, reason: ShutdownReason) {
        if self.id == DomId::DOM0 {
            crate::arch::power::host_shutdown(reason);
        }
        if !self.life.shut_down(reason) {
            return;
        }
        crate::sched::stop_domain(self);
        table::notify_toolstack();
    }
}
