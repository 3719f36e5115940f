//! Making a domain.
//!
//! 1. Its name is reserved, so that nobody else takes it meanwhile.
//! 2. Its disks are opened, its networks find their bridges.
//! 3. Kernel and ramdisk are looked at, and the domain is built, paused.
//! 4. Ports are bound and rings mapped, xenstore nodes written, services started.
//! 5. Its disks and networks are plugged in.
//! 6. It is let go, unless it should stay paused.
//!
//! If a step fails, what the earlier ones did is undone, and the user gets one line.

use alloc::collections::BTreeSet;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;

use backends::console::Console;
use backends::xenstore::StoreRing;
use guest_abi::{DomId, Errno, Mfn, Port};

use super::guest::{Guest, Phase};
use super::services::RingPage;
use super::{DeviceError, Images, Signal, Toolstack, nodes};
use crate::builder::ramdisk::RamdiskError;
use crate::builder::{Blueprint, BuildError, Built, Kernel, KernelError, build, ramdisk};
use crate::config::DomainConfig;
use crate::hypervisor::destroy;

/// Why a domain could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// There is one of that name.
    Duplicate {
        /// The name.
        name: String,
        /// The other one's number, once it has one.
        domain: Option<DomId>,
    },
    /// The kernel can't be booted.
    Kernel {
        /// Its file.
        file: String,
        /// Why.
        error: KernelError,
    },
    /// The ramdisk is broken.
    Ramdisk {
        /// Its file.
        file: String,
        /// Why.
        error: RamdiskError,
    },
    /// It could not be built.
    Build {
        /// The domain's name.
        name: String,
        /// Why.
        error: BuildError,
    },
    /// It was built, but could not be connected.
    Connect {
        /// What failed.
        what: &'static str,
        /// The hypervisor's reason.
        errno: Errno,
    },
    /// One of its disks or networks can't be had.
    Device(DeviceError),
    /// Its xenstore nodes could not be written.
    Store(backends::xenstore::Error),
    /// dom0 stopped working on it.
    Abandoned,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate {
                name,
                domain: Some(domain),
            } => write!(
                f,
                "domain \"{name}\" exists already (id {domain}); \
                 choose another `name`, or destroy it"
            ),
            Self::Duplicate { name, domain: None } => {
                write!(
                    f,
                    "a domain \"{name}\" is just being created; choose another `name`"
                )
            }
            Self::Kernel { file, error } => write!(f, "{file}: {error}"),
            Self::Ramdisk { file, error } => write!(f, "{file}: {error}"),
            Self::Build { name, error } => write!(f, "{name}: {error}"),
            Self::Connect { what, errno } => {
                write!(f, "{what} failed: {}; `xl dmesg` tells why", errno.name())
            }
            Self::Device(error) => write!(f, "{error}"),
            Self::Store(error) => write!(f, "xenstore refused the domain's nodes: {error}"),
            Self::Abandoned => f.write_str("the creation was abandoned"),
        }
    }
}

impl core::error::Error for CreateError {}

/// A name that is taken until this is dropped.
struct Reserved<'a> {
    names: &'a RefCell<BTreeSet<String>>,
    name: &'a str,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.names.borrow_mut().remove(self.name);
    }
}

impl Toolstack {
    /// Makes a domain. It goes on being made when the caller stops waiting.
    ///
    /// # Errors
    ///
    /// Why it can't be. Nothing is left then.
    pub async fn create(
        self: &Rc<Self>,
        config: DomainConfig,
        images: Images,
        paused: bool,
    ) -> Result<Rc<Guest>, CreateError> {
        let toolstack = self.clone();
        let task = self
            .runtime
            .spawn(async move { toolstack.make(config, images, paused).await });
        task.join().await.unwrap_or(Err(CreateError::Abandoned))
    }

    /// [`create`](Self::create), in the caller's own task.
    pub(super) async fn make(
        self: &Rc<Self>,
        config: DomainConfig,
        images: Images,
        paused: bool,
    ) -> Result<Rc<Guest>, CreateError> {
        let name = config.name.clone();
        let _reserved = self.reserve(&name)?;
        let uuid = config.uuid.unwrap_or_else(|| self.new_uuid());
        let resources = self.prepare(&config).await.map_err(CreateError::Device)?;
        let built = self.build(&config, &images, uuid).await?;
        let connected = self.connect(&built, config, images, uuid);
        let guest = match connected {
            Ok(guest) => guest,
            Err(error) => {
                self.destroy_bare(built.domain).await;
                return Err(error);
            }
        };
        for resource in resources {
            if let Err(error) = self.plug(&guest, resource) {
                self.remove(&guest).await;
                return Err(CreateError::Device(error));
            }
        }
        if !paused && let Err(errno) = self.hypervisor.unpause(built.domain) {
            self.remove(&guest).await;
            return Err(CreateError::Connect {
                what: "starting the domain",
                errno,
            });
        }
        Ok(guest)
    }

    fn reserve<'a>(&'a self, name: &'a str) -> Result<Reserved<'a>, CreateError> {
        let taken = self.guests().into_iter().find(|guest| guest.name() == name);
        let domain = match taken {
            Some(guest) => Some(guest.domain),
            None if name == super::DOM0_NAME => Some(DomId::DOM0),
            None => None,
        };
        if domain.is_some() || !self.reserved.borrow_mut().insert(name.into()) {
            return Err(CreateError::Duplicate {
                name: name.into(),
                domain,
            });
        }
        Ok(Reserved {
            names: &self.reserved,
            name,
        })
    }

    async fn build(
        &self,
        config: &DomainConfig,
        images: &Images,
        uuid: guest_abi::version::DomainHandle,
    ) -> Result<Built, CreateError> {
        let kernel = Kernel::read(&self.runtime, &images.kernel)
            .await
            .map_err(|error| CreateError::Kernel {
                file: config.kernel.clone(),
                error,
            })?;
        if let Some(bytes) = &images.ramdisk {
            ramdisk::check(&self.runtime, bytes)
                .await
                .map_err(|error| {
                    let file = config.ramdisk.clone().unwrap_or_default();
                    CreateError::Ramdisk { file, error }
                })?;
        }
        let blueprint = Blueprint {
            kernel: &kernel,
            ramdisk: images.ramdisk.as_deref().map(Vec::as_slice),
            command_line: &config.command_line,
            memory_kib: config.memory_mib * 1024,
            max_memory_kib: config.max_memory_mib * 1024,
            vcpus: config.vcpus,
            uuid,
        };
        let built = build(&*self.hypervisor, &self.runtime, &blueprint).await;
        built.map_err(|error| CreateError::Build {
            name: config.name.clone(),
            error,
        })
    }

    /// Ports, rings, nodes and services of a domain just built.
    fn connect(
        self: &Rc<Self>,
        built: &Built,
        config: DomainConfig,
        images: Images,
        uuid: guest_abi::version::DomainHandle,
    ) -> Result<Rc<Guest>, CreateError> {
        let (domain, rings) = (built.domain, &built.rings);
        let console_page = self.map_ring(domain, rings.console_frame)?;
        let store_page = self.map_ring(domain, rings.store_frame)?;
        let store_port = self.bind(domain, rings.store_port)?;
        let console_port = self
            .bind(domain, rings.console_port)
            .inspect_err(|_| self.hypervisor.close(store_port))?;
        let introduced = self.store().borrow_mut().introduce(
            domain,
            rings.store_frame.get(),
            rings.store_port.get(),
        );
        let close = || {
            self.hypervisor.close(store_port);
            self.hypervisor.close(console_port);
        };
        let client = introduced
            .inspect_err(|_| close())
            .map_err(CreateError::Store)?;
        let guest = Rc::new(Guest {
            domain,
            name: RefCell::new(config.name.clone()),
            uuid,
            target_kib: Cell::new(config.memory_mib * 1024),
            max_kib: Cell::new(config.max_memory_mib * 1024),
            config,
            images,
            created: self.runtime.now(),
            phase: Cell::new(Phase::Alive),
            console: RefCell::new(Console::new(console_page)),
            console_port,
            printed: Signal::default(),
            typed: Signal::default(),
            store_ring: RefCell::new(Some(StoreRing::new(store_page, client))),
            store_port,
            services: RefCell::default(),
            devices: RefCell::default(),
        });
        let written = nodes::create(&mut self.store().borrow_mut(), &guest, rings);
        if let Err(error) = written {
            self.disconnect(&guest);
            return Err(CreateError::Store(error));
        }
        self.serve(&guest, client);
        self.guests.borrow_mut().insert(domain, guest.clone());
        self.changed.notify();
        Ok(guest)
    }

    fn map_ring(&self, domain: DomId, frame: Mfn) -> Result<RingPage, CreateError> {
        let mapped = self.hypervisor.map(domain, &[frame]);
        mapped.map(RingPage).map_err(|error| CreateError::Connect {
            what: "mapping the domain's rings",
            errno: error.errno,
        })
    }

    fn bind(&self, domain: DomId, port: Port) -> Result<Port, CreateError> {
        let bound = self.hypervisor.bind_interdomain(domain, port);
        bound.map_err(|errno| CreateError::Connect {
            what: "binding the domain's ports",
            errno,
        })
    }

    /// Destroys a domain that nothing is connected to.
    pub(super) async fn destroy_bare(&self, domain: DomId) {
        match destroy(&*self.hypervisor, &self.runtime, domain).await {
            // That it is gone already is fine.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => log::error!("domain {domain} could not be destroyed: {}", errno.name()),
        }
    }
}
