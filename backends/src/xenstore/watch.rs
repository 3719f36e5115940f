//! Who wants to hear of what.
//!
//! Watches are kept by the node they watch. A change at `/a/b/c` looks up `/a/b/c`, `/a/b`, `/a`
//! and `/`; a removed subtree also looks at what is watched inside it. So the cost of a change
//! is the depth of the tree plus those who listen, however many watches there are.

use super::edit::Change;
use super::store::{Caller, ClientId};
use super::tree::Tree;
use super::{Error, Path, Permissions, Special, WatchEvent, WatchPath};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

/// One watch, as its client set it.
#[derive(Clone, Debug)]
struct Watch {
    client: ClientId,
    token: Arc<[u8]>,
    /// Bytes to cut from the front of an absolute path to get the client's spelling.
    cut: usize,
}

/// An event, for whom it is, and what to send in its place when their queue is full.
#[derive(Debug)]
pub(super) struct Firing {
    pub(super) client: ClientId,
    pub(super) event: WatchEvent,
    pub(super) watched: WatchEvent,
}

/// All watches of all clients.
#[derive(Debug, Default)]
pub(super) struct Watches {
    nodes: BTreeMap<Path, Vec<Watch>>,
    specials: BTreeMap<Special, Vec<Watch>>,
    counts: BTreeMap<ClientId, usize>,
}

impl Watches {
    /// How many watches `client` has.
    pub(super) fn count(&self, client: ClientId) -> usize {
        self.counts.get(&client).copied().unwrap_or(0)
    }

    /// Adds a watch; returns its first event. `cut` is the length of the client's home with its
    /// slash if the client wrote a relative path.
    pub(super) fn add(
        &mut self,
        client: ClientId,
        path: WatchPath,
        token: Arc<[u8]>,
        cut: usize,
    ) -> Result<Firing, Error> {
        let watch = Watch { client, token, cut };
        let firing = watch.fire(&path.to_text(), &path.to_text());
        let list = match path {
            WatchPath::Node(path) => self.nodes.entry(path).or_default(),
            WatchPath::Special(special) => self.specials.entry(special).or_default(),
        };
        if list
            .iter()
            .any(|old| old.client == client && old.token == watch.token)
        {
            return Err(Error::Exists);
        }
        list.push(watch);
        *self.counts.entry(client).or_insert(0) += 1;
        Ok(firing)
    }

    /// Removes a watch.
    pub(super) fn remove(
        &mut self,
        client: ClientId,
        path: &WatchPath,
        token: &[u8],
    ) -> Result<(), Error> {
        let list = match path {
            WatchPath::Node(path) => self.nodes.get_mut(path),
            WatchPath::Special(special) => self.specials.get_mut(special),
        };
        let list = list.ok_or(Error::NotFound)?;
        let is_it = |watch: &Watch| watch.client == client && *watch.token == *token;
        let position = list.iter().position(is_it).ok_or(Error::NotFound)?;
        list.remove(position);
        if list.is_empty() {
            match path {
                WatchPath::Node(path) => drop(self.nodes.remove(path)),
                WatchPath::Special(special) => drop(self.specials.remove(special)),
            }
        }
        self.discount(client);
        Ok(())
    }

    /// Removes every watch of `client`.
    pub(super) fn remove_client(&mut self, client: ClientId) {
        if self.counts.remove(&client).is_none() {
            return;
        }
        self.nodes.retain(|_, list| {
            list.retain(|watch| watch.client != client);
            !list.is_empty()
        });
        self.specials.retain(|_, list| {
            list.retain(|watch| watch.client != client);
            !list.is_empty()
        });
    }

    fn discount(&mut self, client: ClientId) {
        if let Some(count) = self.counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&client);
            }
        }
    }

    /// The events of one change. `callers` says on whose behalf a client reads.
    pub(super) fn fire(
        &self,
        change: &Change,
        tree: &Tree,
        callers: &impl Fn(ClientId) -> Option<Caller>,
    ) -> Vec<Firing> {
        let mut firings = Vec::new();
        let may_see = |client, permissions: &[Option<&Permissions>]| {
            callers(client).is_some_and(|caller| {
                permissions
                    .iter()
                    .flatten()
                    .any(|list| caller.access_to(list).can_read())
            })
        };
        let now = tree.get(&change.path).map(|node| node.permissions());
        let lists = [now, change.old_permissions.as_ref(), change.parent.as_ref()];
        for above in change.path.upwards() {
            for watch in self.nodes.get(above).into_iter().flatten() {
                if may_see(watch.client, &lists) {
                    firings.push(watch.fire(change.path.as_str(), above));
                }
            }
        }
        let Some(removed) = &change.removed else {
            return firings;
        };
        for (path, watches) in self.below(&change.path) {
            let relative = path.below(&change.path).unwrap_or_default();
            let Some(node) = removed.descend(relative.split('/')) else {
                continue;
            };
            for watch in watches {
                if may_see(watch.client, &[Some(node.permissions())]) {
                    firings.push(watch.fire(path.as_str(), path.as_str()));
                }
            }
        }
        firings
    }

    /// The events of a special.
    pub(super) fn fire_special(
        &self,
        special: Special,
        permissions: &Permissions,
        callers: &impl Fn(ClientId) -> Option<Caller>,
    ) -> Vec<Firing> {
        let may_see = |watch: &&Watch| {
            let caller = callers(watch.client);
            caller.is_some_and(|caller| caller.access_to(permissions).can_read())
        };
        let watches = self
            .specials
            .get(&special)
            .into_iter()
            .flatten()
            .filter(may_see);
        watches
            .map(|watch| watch.fire(special.name(), special.name()))
            .collect()
    }

    /// The watches on nodes strictly below `path`.
    fn below(&self, path: &Path) -> impl Iterator<Item = (&Path, &Vec<Watch>)> {
        // "/a" < "/a-b" < "/a/b": start behind the path and skip what merely looks alike.
        let range = (Bound::Excluded(path.clone()), Bound::Unbounded);
        let root = path.as_str() == "/";
        let path = path.clone();
        let prefix = path.clone();
        let looks_alike = move |p: &&Path| root || p.as_str().starts_with(prefix.as_str());
        self.nodes
            .range(range)
            .take_while(move |(p, _)| looks_alike(p))
            .filter(move |(p, _)| p.below(&path).is_some())
    }
}

impl Watch {
    fn fire(&self, path: &str, watched: &str) -> Firing {
        let event = |absolute: &str| WatchEvent {
            path: absolute.get(self.cut..).unwrap_or(absolute).into(),
            token: self.token.clone(),
        };
        Firing {
            client: self.client,
            event: event(path),
            watched: event(watched),
        }
    }
}
