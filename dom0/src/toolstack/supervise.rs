//! Looking after domains: what happens when one ends by itself.
//!
//! The hypervisor raises `VIRQ_DOM_EXC` whenever some domain has shut down, crashed or gone; it
//! doesn't say which. So each time the list is read, and a guest that has ended since is dealt
//! with as its configuration says.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;

use backends::xenstore::Special;
use guest_abi::domctl::{DomainInfo, DomainInfoFlags};
use guest_abi::sched::ShutdownReason;
use guest_abi::{DomId, Errno, Virq};

use super::{Guest, Phase, Toolstack, nodes};
use crate::config::{Action, DomainConfig, VifSpec};

/// Why a domain has shut down, if it has.
#[must_use]
pub fn shutdown_reason(info: &DomainInfo) -> Option<ShutdownReason> {
    let down = info.info_flags().contains(DomainInfoFlags::SHUTDOWN);
    // A reason nobody knows is as bad as a crash.
    let reason = ShutdownReason::from_number(info.shutdown_reason());
    down.then(|| reason.unwrap_or(ShutdownReason::Crash))
}

impl Toolstack {
    /// Starts to look after domains.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal of the virtual interrupt.
    pub fn start(self: &Rc<Self>) -> Result<(), Errno> {
        let port = self
            .runtime
            .listen(self.hypervisor.bind_virq(Virq::DomExc)?);
        let storage = self.storage.clone();
        self.runtime.spawn(async move { storage.start().await });
        let toolstack = self.clone();
        self.runtime.spawn(async move {
            loop {
                port.wait().await;
                toolstack.look_around();
            }
        });
        Ok(())
    }

    /// Finds the guests that have ended, and sees to each in a task of its own.
    pub(super) fn look_around(self: &Rc<Self>) {
        let infos = match self.hypervisor.domains() {
            Ok(infos) => infos,
            Err(errno) => return log::error!("the list of domains: {}", errno.name()),
        };
        let infos: BTreeMap<DomId, DomainInfo> = infos
            .iter()
            .map(|info| (DomId::new(info.domain.get()), *info))
            .collect();
        for guest in self.guests() {
            let ended = match infos.get(&guest.domain) {
                Some(info) => shutdown_reason(info).map(Phase::Ended),
                None => Some(Phase::Gone),
            };
            let (Some(phase), Phase::Alive) = (ended, guest.phase.get()) else {
                continue;
            };
            let toolstack = self.clone();
            if let Phase::Ended(reason) = phase {
                guest.phase.set(phase);
                self.runtime
                    .spawn(async move { toolstack.ended(&guest, reason).await });
            } else {
                // Somebody else has destroyed it.
                self.runtime
                    .spawn(async move { toolstack.remove(&guest).await });
            }
        }
    }

    /// Does what a guest's configuration says for its end.
    async fn ended(self: &Rc<Self>, guest: &Rc<Guest>, reason: ShutdownReason) {
        // Its last words may still be in the ring.
        while self.run_console(guest) {}
        self.store().borrow_mut().announce(Special::ReleaseDomain);
        let action = match reason {
            ShutdownReason::Poweroff => guest.config.on_poweroff,
            ShutdownReason::Reboot | ShutdownReason::SoftReset => guest.config.on_reboot,
            ShutdownReason::Crash | ShutdownReason::Watchdog => guest.config.on_crash,
            ShutdownReason::Suspend => Action::Preserve,
        };
        let name = guest.name();
        log::info!(
            "domain {} ({name}) has ended: {reason:?}; {}",
            guest.domain,
            action.name()
        );
        self.changed.notify();
        match action {
            Action::Preserve => {}
            Action::Destroy | Action::CoredumpDestroy => {
                note_coredump(action);
                self.remove(guest).await;
            }
            Action::Restart | Action::CoredumpRestart => {
                note_coredump(action);
                let config = self.current_config(guest);
                self.remove(guest).await;
                self.start_again(guest, config).await;
            }
            Action::RenameRestart => {
                *guest.name.borrow_mut() = format!("{name}-{}", guest.domain);
                nodes::rename(&mut self.store().borrow_mut(), guest);
                let config = self.current_config(guest);
                // What stays is only to be looked at: disks and addresses are for the new one.
                self.detach_all(guest).await;
                self.start_again(guest, config).await;
            }
        }
    }

    /// A guest's configuration with the devices and the memory it has now.
    fn current_config(&self, guest: &Guest) -> DomainConfig {
        let devices = guest.devices();
        let vifs = devices.iter().filter_map(|device| {
            let (spec, mac) = device.vif()?;
            Some(VifSpec {
                mac: Some(mac),
                devid: Some(device.id()),
                ..spec.clone()
            })
        });
        DomainConfig {
            disks: devices
                .iter()
                .filter_map(|device| device.disk().cloned())
                .collect(),
            vifs: vifs.collect(),
            memory_mib: guest.target_kib() / 1024,
            max_memory_mib: guest.max_kib() / 1024,
            ..guest.config.clone()
        }
    }

    async fn start_again(self: &Rc<Self>, guest: &Rc<Guest>, config: DomainConfig) {
        let images = guest.images.clone();
        let name = config.name.clone();
        if let Err(error) = self.make(config, images, false).await {
            log::error!("{name} could not be started again: {error}");
        }
    }
}

fn note_coredump(action: Action) {
    if matches!(action, Action::CoredumpDestroy | Action::CoredumpRestart) {
        log::warn!("no dump was written: dumps are not supported yet");
    }
}
