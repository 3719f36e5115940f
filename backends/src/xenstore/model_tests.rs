//! The tree and its transactions against models of a few lines.

use super::{Caller, ClientId, Error, Local, Path, Permissions, Quota, Store, TransactionId};
use guest_abi::ids::DomId;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One step of a client.
#[derive(Clone, Debug)]
enum Step {
    Write(String, u8),
    MakeDirectory(String),
    Remove(String),
    Read(String),
    List(String),
}

/// What a step showed to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Done,
    Value(Vec<u8>),
    Names(Vec<String>),
    Refused(Error),
}

/// Paths of at most three levels over two names: collisions are the point.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (path(), any::<u8>()).prop_map(|(path, value)| Step::Write(path, value)),
        path().prop_map(Step::MakeDirectory),
        path().prop_map(Step::Remove),
        path().prop_map(Step::Read),
        path().prop_map(Step::List),
    ]
}

/// The naive store: a map from path to value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model(BTreeMap<String, Vec<u8>>);

impl Model {
    fn create(&mut self, path: &str, value: Vec<u8>) {
        for (end, _) in path.match_indices('/').skip(1) {
            self.0.entry(path[..end].to_owned()).or_default();
        }
        self.0.insert(path.to_owned(), value);
    }

    fn apply(&mut self, step: &Step) -> Shown {
        match step {
            Step::Write(path, value) => self.create(path, vec![*value]),
            Step::MakeDirectory(path) if self.0.contains_key(path) => {}
            Step::MakeDirectory(path) => self.create(path, Vec::new()),
            Step::Remove(path) => {
                let parent = &path[..path.rfind('/').unwrap()];
                if !parent.is_empty() && !self.0.contains_key(parent) {
                    return Shown::Refused(Error::NotFound);
                }
                let below = format!("{path}/");
                self.0.retain(|p, _| p != path && !p.starts_with(&below));
            }
            Step::Read(path) => {
                return match self.0.get(path) {
                    Some(value) => Shown::Value(value.clone()),
                    None => Shown::Refused(Error::NotFound),
                };
            }
            Step::List(path) => {
                if !self.0.contains_key(path) {
                    return Shown::Refused(Error::NotFound);
                }
                let below = format!("{path}/");
                let names = self.0.keys().filter_map(|p| p.strip_prefix(&below));
                return Shown::Names(names.filter(|n| !n.contains('/')).map(Into::into).collect());
            }
        }
        Shown::Done
    }
}

fn perform(local: &mut Local<'_, '_>, step: &Step) -> Result<Shown, Error> {
    match step {
        Step::Write(path, value) => {
            // Through the same door as the wire's WRITE: any byte.
            local.write_bytes(path, &[*value]).map(|()| Shown::Done)
        }
        Step::MakeDirectory(path) => local.make_directory(path).map(|()| Shown::Done),
        Step::Remove(path) => local.remove(path).map(|()| Shown::Done),
        Step::Read(path) => local.read_bytes(path).map(Shown::Value),
        Step::List(path) => local.list(path).map(Shown::Names),
    }
}

fn apply(store: &mut Store, client: ClientId, tx: Option<TransactionId>, step: &Step) -> Shown {
    let result = match tx {
        Some(tx) => store.in_transaction(client, tx, |local| perform(local, step)),
        None => store.atomically(client, |local| perform(local, step)),
    };
    result.unwrap_or_else(Shown::Refused)
}

/// All of the store, as the model has it.
fn contents(store: &mut Store, client: ClientId) -> Model {
    fn visit(local: &mut Local<'_, '_>, path: &str, model: &mut Model) -> Result<(), Error> {
        for name in local.list(if path.is_empty() { "/" } else { path })? {
            let path = format!("{path}/{name}");
            model.0.insert(path.clone(), local.read_bytes(&path)?);
            visit(local, &path, model)?;
        }
        Ok(())
    }
    let mut model = Model::default();
    store
        .atomically(client, |local| visit(local, "", &mut model))
        .unwrap();
    model
}

/// A transaction that runs, with what each of its steps showed.
type Running = (TransactionId, Vec<(Step, Shown)>);

/// What happens in a run with transactions.
#[derive(Clone, Debug)]
enum Event {
    Start(usize),
    Step(usize, Step),
    Direct(Step),
    Commit(usize),
    Abort(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..3_usize).prop_map(Event::Start),
        8 => (0..3_usize, step()).prop_map(|(n, step)| Event::Step(n, step)),
        2 => step().prop_map(Event::Direct),
        3 => (0..3_usize).prop_map(Event::Commit),
        1 => (0..3_usize).prop_map(Event::Abort),
    ]
}

proptest! {
    #[test]
    fn the_store_does_what_the_naive_map_does(steps in prop::collection::vec(step(), 1..60)) {
        let mut store = Store::default();
        let client = store.add_client(Caller::DOM0);
        let mut model = Model::default();
        for step in &steps {
            prop_assert_eq!(apply(&mut store, client, None, step), model.apply(step), "{:?}", step);
            prop_assert_eq!(&contents(&mut store, client), &model);
        }
    }

    /// Serialisability: a transaction that commits could have run, step by step and with every
    /// answer it got, at the moment of its commit; one that is refused never happened.
    #[test]
    fn a_committed_transaction_ran_in_one_moment(events in prop::collection::vec(event(), 1..80)) {
        let mut store = Store::default();
        let client = store.add_client(Caller::DOM0);
        let mut model = Model::default();
        let mut open: [Option<Running>; 3] = [None, None, None];
        for event in &events {
            match event {
                Event::Start(n) if open[*n].is_none() => {
                    open[*n] = Some((store.start_transaction(client).unwrap(), Vec::new()));
                }
                Event::Step(n, step) => if let Some((id, steps)) = &mut open[*n] {
                    let shown = apply(&mut store, client, Some(*id), step);
                    steps.push((step.clone(), shown));
                },
                Event::Direct(step) => {
                    prop_assert_eq!(apply(&mut store, client, None, step), model.apply(step));
                }
                Event::Commit(n) => if let Some((id, steps)) = open[*n].take() {
                    match store.end_transaction(client, id, true) {
                        Ok(()) => for (step, shown) in &steps {
                            prop_assert_eq!(&model.apply(step), shown, "{:?}", step);
                        },
                        Err(error) => prop_assert_eq!(error, Error::Again),
                    }
                },
                Event::Abort(n) => if let Some((id, _)) = open[*n].take() {
                    store.end_transaction(client, id, false).unwrap();
                },
                Event::Start(_) => {}
            }
            prop_assert_eq!(&contents(&mut store, client), &model);
        }
    }

    #[test]
    fn a_guest_never_owns_more_nodes_than_its_quota(
        steps in prop::collection::vec(step(), 1..80),
        commits in prop::collection::vec(any::<bool>(), 80),
    ) {
        let quota = Quota { nodes: 5, ..Quota::GUEST };
        let mut store = Store::new(quota);
        let guest = DomId::new(1);
        let client = store.introduce(guest, 0, 1).unwrap();
        store.as_dom0(|root| root.make_directory("/local/domain/1")).unwrap();
        let mine = Permissions::owned_by(guest);
        store.as_dom0(|root| root.set_permissions("/local/domain/1", mine)).unwrap();
        let tx = store.start_transaction(client).unwrap();
        for (step, in_tx) in steps.iter().zip(commits) {
            let relative = |path: &String| path[1..].to_owned();
            let step = match step {
                Step::Write(path, value) => Step::Write(relative(path), *value),
                Step::MakeDirectory(path) => Step::MakeDirectory(relative(path)),
                Step::Remove(path) => Step::Remove(relative(path)),
                Step::Read(path) => Step::Read(relative(path)),
                Step::List(path) => Step::List(relative(path)),
            };
            apply(&mut store, client, in_tx.then_some(tx), &step);
            prop_assert!(store.nodes_of(guest) <= quota.nodes);
        }
        let _ = store.end_transaction(client, tx, true);
        prop_assert!(store.nodes_of(guest) <= quota.nodes);
        store.release(guest).unwrap();
        prop_assert_eq!(store.nodes_of(guest), 0);
        prop_assert_eq!(store.get("/local/domain/1"), None);
    }
}

#[test]
fn children_added_side_by_side_do_not_collide() {
    let mut store = Store::default();
    let client = store.add_client(Caller::DOM0);
    store.put("/backend", "").unwrap();
    let (one, two) = (
        store.start_transaction(client).unwrap(),
        store.start_transaction(client).unwrap(),
    );
    store
        .in_transaction(client, one, |tx| tx.write("/backend/1", "x"))
        .unwrap();
    store
        .in_transaction(client, two, |tx| tx.write("/backend/2", "y"))
        .unwrap();
    assert_eq!(store.end_transaction(client, one, true), Ok(()));
    assert_eq!(store.end_transaction(client, two, true), Ok(()));
    assert_eq!(
        store.as_dom0(|root| root.list("/backend")).unwrap(),
        ["1", "2"]
    );
}

#[test]
fn who_listed_a_directory_relies_on_its_names() {
    let mut store = Store::default();
    let client = store.add_client(Caller::DOM0);
    store.put("/backend", "").unwrap();
    let tx = store.start_transaction(client).unwrap();
    store
        .in_transaction(client, tx, |tx| tx.list("/backend"))
        .unwrap();
    store
        .in_transaction(client, tx, |tx| tx.write("/count", "0"))
        .unwrap();
    store.put("/backend/1", "x").unwrap();
    assert_eq!(store.end_transaction(client, tx, true), Err(Error::Again));
    assert_eq!(store.get("/count"), None);
}

#[test]
fn a_failed_batch_of_dom0_leaves_nothing() {
    let mut store = Store::default();
    let result = store.as_dom0(|root| {
        root.write("/a/b", 1)?;
        root.write("/not a path", 2)
    });
    assert_eq!(result, Err(Error::Invalid));
    assert_eq!(store.get("/a"), None);
}

#[test]
fn the_next_domain_of_that_number_inherits_no_rights() {
    let mut store = Store::default();
    let three = DomId::new(3);
    store.introduce(three, 1, 1).unwrap();
    let backend = Permissions::readable_by(DomId::DOM0, three);
    store
        .as_dom0(|root| root.write_with("/backend/vbd", "secret", &backend))
        .unwrap();
    store.release(three).unwrap();
    let client = store.introduce(three, 2, 1).unwrap();
    let read = store.atomically(client, |guest| guest.read("/backend/vbd"));
    assert_eq!(read, Err(Error::Denied));
    assert!(Path::new("/backend/vbd").is_ok() && store.get("/backend/vbd").is_some());
}
