//! The store as a whole: the tree, who is connected, and what they are told.
//!
//! Everything happens in one call: a change, the events it causes in other clients' queues, the
//! wake-ups for those who wait. There is no other state, so a caller that holds the store holds
//! a consistent one.

use super::domains::Introduction;
use super::edit::{Change, Edit, Journal};
use super::event::EventQueue;
use super::quota::room;
use super::transaction::{Transaction, TransactionId};
use super::tree::Tree;
use super::watch::{Firing, Watches};
use super::{Access, Error, Path, Permissions, Quota, Special, WatchEvent, WatchPath};
use alloc::collections::{BTreeMap, VecDeque};
use core::task::{Context, Poll, Waker};
use guest_abi::ids::DomId;

/// On whose behalf something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    domain: DomId,
    /// A domain that this one serves, and whose rights it therefore has.
    pub(super) target: Option<DomId>,
}

impl Caller {
    /// The toolstack and the backends.
    pub const DOM0: Self = Self {
        domain: DomId::DOM0,
        target: None,
    };

    /// An ordinary domain.
    pub fn domain_only(domain: DomId) -> Self {
        Self {
            domain,
            target: None,
        }
    }

    /// The domain that calls.
    pub fn domain(self) -> DomId {
        self.domain
    }

    /// Whether no permission and no quota holds it back.
    pub fn is_privileged(self) -> bool {
        self.domain == DomId::DOM0
    }

    /// Whether it has the rights of `owner`.
    pub(super) fn acts_for(self, owner: DomId) -> bool {
        self.domain == owner || self.target == Some(owner)
    }

    /// What it may do with a node of these permissions.
    pub(super) fn access_to(self, permissions: &Permissions) -> Access {
        match (permissions.access_of(self.domain), self.target) {
            (Access::ReadWrite, _) => Access::ReadWrite,
            (own, None) => own,
            (own, Some(target)) => {
                let theirs = permissions.access_of(target);
                match (
                    own.can_read() || theirs.can_read(),
                    own.can_write() || theirs.can_write(),
                ) {
                    (true, true) => Access::ReadWrite,
                    (true, false) => Access::Read,
                    (false, true) => Access::Write,
                    (false, false) => Access::None,
                }
            }
        }
    }
}

/// One connection, or one service inside dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u32);

#[derive(Debug)]
pub(super) struct Client {
    pub(super) caller: Caller,
    events: EventQueue,
    transactions: BTreeMap<TransactionId, Transaction>,
    last_transaction: u32,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    pub(super) tree: Tree,
    pub(super) specials: BTreeMap<Special, Permissions>,
    pub(super) watches: Watches,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) domains: BTreeMap<DomId, Introduction>,
    pub(super) introductions: VecDeque<Introduction>,
    last_client: u32,
    guest_quota: Quota,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Quota::GUEST)
    }
}

impl Store {
    /// An empty store in which every domain but dom0 has `guest_quota`.
    pub fn new(guest_quota: Quota) -> Self {
        Self {
            tree: Tree::new(Permissions::owned_by(DomId::DOM0)),
            specials: BTreeMap::new(),
            watches: Watches::default(),
            clients: BTreeMap::new(),
            domains: BTreeMap::new(),
            introductions: VecDeque::new(),
            last_client: 0,
            guest_quota,
        }
    }

    /// Adds a client; for a domain's ring see [`introduce`](Self::introduce).
    pub fn add_client(&mut self, caller: Caller) -> ClientId {
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let client = Client {
            caller,
            events: EventQueue::default(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
        };
        self.clients.insert(id, client);
        id
    }

    /// Forgets a client with its watches, transactions and events.
    pub fn remove_client(&mut self, id: ClientId) {
        self.watches.remove_client(id);
        if let Some(mut client) = self.clients.remove(&id) {
            client.events.wake();
        }
    }

    /// Whether the client is still there.
    pub fn has_client(&self, id: ClientId) -> bool {
        self.clients.contains_key(&id)
    }

    pub(super) fn client(&mut self, id: ClientId) -> Result<&mut Client, Error> {
        self.clients.get_mut(&id).ok_or(Error::Denied)
    }

    /// On whose behalf a client acts.
    pub fn caller(&self, id: ClientId) -> Result<Caller, Error> {
        self.clients
            .get(&id)
            .map(|client| client.caller)
            .ok_or(Error::Denied)
    }

    /// The limits that hold for a caller.
    pub fn quota_of(&self, caller: Caller) -> Quota {
        if caller.is_privileged() {
            Quota::DOM0
        } else {
            self.guest_quota
        }
    }

    /// Lets `step` read and change the tree, or the copy of it that a transaction works on.
    pub(super) fn edit<T>(
        &mut self,
        id: ClientId,
        transaction: Option<TransactionId>,
        step: impl FnOnce(&mut Edit<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let caller = self.caller(id)?;
        let quota = self.quota_of(caller);
        if let Some(transaction) = transaction {
            let open = &mut self.client(id)?.transactions;
            return open
                .get_mut(&transaction)
                .ok_or(Error::NotFound)?
                .step(caller, &quota, step);
        }
        let mut journal = Journal::default();
        let mut edit = Edit {
            tree: &mut self.tree,
            caller,
            quota: &quota,
            journal: &mut journal,
        };
        let result = step(&mut edit);
        self.publish(&journal.changes);
        result
    }

    /// Like [`edit`](Self::edit), for several steps that happen all together or not at all.
    pub(super) fn edit_atomically<T>(
        &mut self,
        id: ClientId,
        steps: impl FnOnce(&mut Edit<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let caller = self.caller(id)?;
        let quota = self.quota_of(caller);
        let mut transaction = Transaction::start(&self.tree);
        let value = transaction.step(caller, &quota, steps)?;
        let changes = transaction.commit(&mut self.tree, caller, &quota)?;
        self.publish(&changes);
        Ok(value)
    }

    /// Opens a transaction.
    pub fn start_transaction(&mut self, id: ClientId) -> Result<TransactionId, Error> {
        let quota = self.quota_of(self.caller(id)?);
        let transaction = Transaction::start(&self.tree);
        let client = self.client(id)?;
        room(client.transactions.len(), quota.transactions)?;
        loop {
            client.last_transaction = client.last_transaction.checked_add(1).unwrap_or(1);
            let id = TransactionId(client.last_transaction);
            if let alloc::collections::btree_map::Entry::Vacant(free) =
                client.transactions.entry(id)
            {
                free.insert(transaction);
                return Ok(id);
            }
        }
    }

    /// Ends a transaction; with `commit`, its changes become everybody's, or the answer is
    /// [`Error::Again`].
    pub fn end_transaction(
        &mut self,
        id: ClientId,
        transaction: TransactionId,
        commit: bool,
    ) -> Result<(), Error> {
        let caller = self.caller(id)?;
        let open = &mut self.client(id)?.transactions;
        let transaction = open.remove(&transaction).ok_or(Error::NotFound)?;
        if commit {
            let quota = self.quota_of(caller);
            let changes = transaction.commit(&mut self.tree, caller, &quota)?;
            self.publish(&changes);
        }
        Ok(())
    }

    /// Sets a watch. It fires once at once, and from then on for every change at or below
    /// `path` that the client may see.
    pub fn watch(&mut self, id: ClientId, path: &str, token: &[u8]) -> Result<(), Error> {
        let caller = self.caller(id)?;
        let quota = self.quota_of(caller);
        let home = Path::home(caller.domain).as_str().len() + 1;
        let cut = if path.starts_with(['/', '@']) {
            0
        } else {
            home
        };
        let path = WatchPath::resolve(path, caller.domain)?;
        room(self.watches.count(id), quota.watches)?;
        let firing = self.watches.add(id, path, token.into(), cut)?;
        self.deliver([firing]);
        Ok(())
    }

    /// Takes a watch back. An event of it that waits already is still delivered.
    pub fn unwatch(&mut self, id: ClientId, path: &str, token: &[u8]) -> Result<(), Error> {
        let caller = self.caller(id)?;
        self.watches
            .remove(id, &WatchPath::resolve(path, caller.domain)?, token)
    }

    /// Takes back all watches and transactions of a client: a kernel that starts anew.
    pub fn reset(&mut self, id: ClientId) -> Result<(), Error> {
        self.watches.remove_client(id);
        let client = self.client(id)?;
        client.transactions.clear();
        client.events.clear();
        Ok(())
    }

    /// The next event for a client.
    pub fn next_event(&mut self, id: ClientId) -> Option<WatchEvent> {
        self.clients.get_mut(&id)?.events.pop()
    }

    /// Whether an event waits for a client.
    pub fn has_events(&self, id: ClientId) -> bool {
        self.clients
            .get(&id)
            .is_some_and(|client| !client.events.is_empty())
    }

    /// The next event for a client, or a wake-up when there is one. `None` when the client is
    /// gone.
    pub fn poll_event(
        &mut self,
        id: ClientId,
        context: &mut Context<'_>,
    ) -> Poll<Option<WatchEvent>> {
        match self.clients.get_mut(&id) {
            Some(client) => client.events.poll(context).map(Some),
            None => Poll::Ready(None),
        }
    }

    /// Wakes `waker` when an event comes for the client, or when the client is gone.
    pub fn wake_on_event(&mut self, id: ClientId, waker: &Waker) {
        match self.clients.get_mut(&id) {
            Some(client) => client.events.wake_with(waker),
            None => waker.wake_by_ref(),
        }
    }

    /// How many nodes a domain owns.
    pub fn nodes_of(&self, domain: DomId) -> u32 {
        self.tree.owned_by(domain)
    }

    pub(super) fn publish(&mut self, changes: &[Change]) {
        for change in changes {
            let callers = |id: ClientId| self.clients.get(&id).map(|client| client.caller);
            let firings = self.watches.fire(change, &self.tree, &callers);
            self.deliver(firings);
        }
    }

    pub(super) fn deliver(&mut self, firings: impl IntoIterator<Item = Firing>) {
        let guest_limit = self.guest_quota.event_bytes;
        for Firing {
            client,
            event,
            watched,
        } in firings
        {
            let Some(client) = self.clients.get_mut(&client) else {
                continue;
            };
            let privileged = client.caller.is_privileged();
            let limit = if privileged {
                Quota::DOM0.event_bytes
            } else {
                guest_limit
            };
            client.events.push(event, watched, limit);
        }
    }
}
