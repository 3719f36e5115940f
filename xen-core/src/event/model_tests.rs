//! Random operations on a few domains' ports, beside a naive model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use guest_abi::ids::{DomId, Port, VcpuId};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::bind;
use super::port::{PortError, PortState};
use super::table::{Endpoint, Ports, Progress};
use super::two_level::Raised;

const DOMAINS: u16 = 3;
const LIMIT: u32 = 6;

/// A domain with ports and nothing else.
struct Sim {
    id: DomId,
    ports: Ports<Arc<Sim>>,
    pending: Mutex<BTreeSet<u32>>,
}

impl Endpoint for Arc<Sim> {
    fn id(&self) -> DomId {
        self.id
    }
    fn ports(&self) -> &Ports<Self> {
        &self.ports
    }
    fn raise(&self, port: Port, _: VcpuId) -> Raised {
        let new = self.pending.lock().unwrap().insert(port.get());
        if new { Raised::Upcall } else { Raised::Nothing }
    }
    fn notify(&self, _: Port, _: VcpuId, _: Raised) {}
    fn forget(&self, port: Port) {
        self.pending.lock().unwrap().remove(&port.get());
    }
}

fn domains() -> Vec<Arc<Sim>> {
    (0..DOMAINS)
        .map(|id| {
            Arc::new(Sim {
                id: DomId::new(id),
                ports: Ports::new(LIMIT),
                pending: Mutex::default(),
            })
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Unbound { owner: u16, remote: u16 },
    Ipi { owner: u16 },
    Bind { local: u16, remote: u16, port: u32 },
    Send { domain: u16, port: u32 },
    Close { domain: u16, port: u32 },
    Consume { domain: u16 },
}

fn op() -> impl Strategy<Value = Op> {
    let (domain, port) = (0..DOMAINS, 0..LIMIT + 3);
    prop_oneof![
        (domain.clone(), domain.clone()).prop_map(|(owner, remote)| Op::Unbound { owner, remote }),
        domain.clone().prop_map(|owner| Op::Ipi { owner }),
        (domain.clone(), domain.clone(), port.clone()).prop_map(|(local, remote, port)| Op::Bind {
            local,
            remote,
            port
        }),
        (domain.clone(), port.clone()).prop_map(|(domain, port)| Op::Send { domain, port }),
        (domain.clone(), port).prop_map(|(domain, port)| Op::Close { domain, port }),
        domain.prop_map(|domain| Op::Consume { domain }),
    ]
}

/// What an operation answers: a port, nothing, or why not.
type Answer = Result<u32, PortError>;

fn perform(domains: &[Arc<Sim>], op: Op) -> Answer {
    let domain = |id: u16| &domains[usize::from(id)];
    match op {
        Op::Unbound { owner, remote } => {
            bind::alloc_unbound(domain(owner), DomId::new(remote)).map(Port::get)
        }
        Op::Ipi { owner } => domain(owner)
            .ports
            .open(PortState::Ipi, VcpuId::new(0))
            .map(Port::get),
        Op::Bind {
            local,
            remote,
            port,
        } => bind::bind_interdomain(domain(local), domain(remote), Port::new(port)).map(Port::get),
        Op::Send { domain: id, port } => bind::send(domain(id), Port::new(port)).map(|()| 0),
        Op::Close { domain: id, port } => bind::close(domain(id), Port::new(port)).map(|_| 0),
        Op::Consume { domain: id } => {
            domain(id).pending.lock().unwrap().clear();
            Ok(0)
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Naive {
    Unbound(u16),
    To(u16, u32),
    Ipi,
}

#[derive(Default)]
struct Model {
    ports: BTreeMap<(u16, u32), Naive>,
    pending: BTreeSet<(u16, u32)>,
}

impl Model {
    fn open(&mut self, domain: u16, state: Naive) -> Answer {
        let free = (1..=LIMIT).find(|port| !self.ports.contains_key(&(domain, *port)));
        let port = free.ok_or(PortError::NoSpace)?;
        self.ports.insert((domain, port), state);
        Ok(port)
    }

    fn perform(&mut self, op: Op) -> Answer {
        match op {
            Op::Unbound { owner, remote } => self.open(owner, Naive::Unbound(remote)),
            Op::Ipi { owner } => self.open(owner, Naive::Ipi),
            Op::Bind {
                local,
                remote,
                port,
            } => {
                if self.ports.get(&(remote, port)) != Some(&Naive::Unbound(local)) {
                    return Err(PortError::WrongState);
                }
                let new = self.open(local, Naive::To(remote, port))?;
                self.ports.insert((remote, port), Naive::To(local, new));
                self.pending.insert((local, new));
                Ok(new)
            }
            Op::Send { domain, port } => {
                match self.ports.get(&(domain, port)).ok_or(PortError::NotOpen)? {
                    Naive::Unbound(_) => {}
                    Naive::To(remote, port) => drop(self.pending.insert((*remote, *port))),
                    Naive::Ipi => drop(self.pending.insert((domain, port))),
                }
                Ok(0)
            }
            Op::Close { domain, port } => {
                let was = self
                    .ports
                    .remove(&(domain, port))
                    .ok_or(PortError::NotOpen)?;
                self.pending.remove(&(domain, port));
                if let Naive::To(remote, port) = was
                    && self.ports.contains_key(&(remote, port))
                {
                    self.ports.insert((remote, port), Naive::Unbound(domain));
                }
                Ok(0)
            }
            Op::Consume { domain } => {
                self.pending.retain(|(owner, _)| *owner != domain);
                Ok(0)
            }
        }
    }
}

fn agrees(domains: &[Arc<Sim>], model: &Model) -> bool {
    domains.iter().all(|domain| {
        let id = domain.id.get();
        (1..=LIMIT).all(|port| {
            let (state, _) = domain.ports.status(Port::new(port)).unwrap();
            let naive = model.ports.get(&(id, port));
            let same = match state {
                PortState::Free => naive.is_none(),
                PortState::Unbound { remote } => naive == Some(&Naive::Unbound(remote.get())),
                PortState::Interdomain { remote, port } => {
                    naive == Some(&Naive::To(remote.get(), port.get()))
                }
                PortState::Ipi => naive == Some(&Naive::Ipi),
                PortState::Pirq(_) | PortState::Virq(_) => false,
            };
            let pending = domain.pending.lock().unwrap().contains(&port);
            same && pending == model.pending.contains(&(id, port))
        })
    })
}

proptest! {
    #[test]
    fn ports_behave_like_the_naive_model(ops in proptest::collection::vec(op(), 1..120)) {
        let domains = domains();
        let mut model = Model::default();
        for op in ops {
            let (real, naive) = (perform(&domains, op), model.perform(op));
            // The model does not tell a port that is not open from one that is otherwise bound.
            prop_assert_eq!(real.is_ok(), naive.is_ok(), "{:?}: {:?}, {:?}", op, real, naive);
            if let (Ok(real), Ok(naive)) = (real, naive) {
                prop_assert_eq!(real, naive);
            }
            prop_assert!(agrees(&domains, &model), "{:?}", op);
        }
        for domain in &domains {
            while bind::close_some(domain, 2, |_, _, _| {}) == Progress::More {}
            prop_assert_eq!(domain.ports.open_count(), 0);
        }
        // Every hold on a peer went with its channel.
        prop_assert!(domains.iter().all(|domain| Arc::strong_count(domain) == 1));
    }

    #[test]
    fn no_port_number_is_accepted_that_was_not_opened(port in any::<u32>(), vcpu in any::<u32>()) {
        let domains = domains();
        let port = Port::new(port);
        prop_assert!(bind::send(&domains[0], port).is_err());
        prop_assert!(bind::close(&domains[0], port).is_err());
        prop_assert!(bind::bind_vcpu(&domains[0], port, VcpuId::new(vcpu)).is_err());
        prop_assert!(bind::bind_interdomain(&domains[0], &domains[1], port).is_err());
    }
}

#[test]
fn a_dying_domain_opens_no_more_ports_and_takes_no_more_peers() {
    let domains = domains();
    let waiting = bind::alloc_unbound(&domains[0], DomId::new(1)).unwrap();
    domains[0].ports.start_dying();
    assert_eq!(
        bind::alloc_unbound(&domains[0], DomId::new(1)),
        Err(PortError::Dying)
    );
    let bound = bind::bind_interdomain(&domains[1], &domains[0], waiting);
    assert_eq!(bound, Err(PortError::Dying));
}

#[test]
fn both_ends_closing_at_once_leave_nothing_open() {
    for _ in 0..200 {
        let domains = domains();
        let waiting = bind::alloc_unbound(&domains[0], DomId::new(1)).unwrap();
        let port = bind::bind_interdomain(&domains[1], &domains[0], waiting).unwrap();
        std::thread::scope(|scope| {
            let (zero, one) = (&domains[0], &domains[1]);
            scope.spawn(move || bind::close(zero, waiting).unwrap());
            scope.spawn(move || bind::close(one, port).unwrap());
            scope.spawn(move || {
                let _ = bind::send(one, port);
            });
        });
        assert_eq!(
            domains[0].ports.open_count() + domains[1].ports.open_count(),
            0
        );
        assert!(
            domains
                .iter()
                .all(|domain| domain.pending.lock().unwrap().is_empty())
        );
        assert!(domains.iter().all(|domain| Arc::strong_count(domain) == 1));
    }
}
