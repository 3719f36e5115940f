//! Domains coming and going: their connections, and what is left of them.

use super::edit::{Change, Edit, Journal};
use super::store::{Caller, ClientId, Store};
use super::tree::Visit;
use super::{Error, Permissions, Quota, Special};
use alloc::vec::Vec;
use guest_abi::ids::DomId;

/// Where a domain's ring lies, as given when it was introduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Whose ring.
    pub domain: DomId,
    /// The machine frame of the ring page.
    pub frame: u64,
    /// The domain's event channel for it.
    pub port: u32,
    /// Its identity towards the store.
    pub client: ClientId,
}

impl Store {
    /// Connects a domain; `@introduceDomain` fires. A domain that is connected already keeps
    /// its connection if nothing about it differs.
    pub fn introduce(&mut self, domain: DomId, frame: u64, port: u32) -> Result<ClientId, Error> {
        if let Some(old) = self.domains.get(&domain) {
            let same = old.frame == frame && old.port == port;
            return if same {
                Ok(old.client)
            } else {
                Err(Error::Invalid)
            };
        }
        let client = self.add_client(Caller::domain_only(domain));
        let introduction = Introduction {
            domain,
            frame,
            port,
            client,
        };
        self.domains.insert(domain, introduction);
        self.introductions.push_back(introduction);
        self.announce(Special::IntroduceDomain);
        Ok(client)
    }

    /// The next domain whose ring the host should connect.
    pub fn next_introduction(&mut self) -> Option<Introduction> {
        self.introductions.pop_front()
    }

    /// Whether a domain is connected.
    pub fn is_introduced(&self, domain: DomId) -> bool {
        self.domains.contains_key(&domain)
    }

    /// The domain is gone: its connection ends, its nodes vanish with all that is below them,
    /// and no list names it any more, so whoever gets its number next inherits nothing.
    pub fn release(&mut self, domain: DomId) -> Result<(), Error> {
        let introduction = self.domains.remove(&domain).ok_or(Error::NotFound)?;
        self.introductions
            .retain(|waiting| waiting.domain != domain);
        self.remove_client(introduction.client);
        for client in self.clients.values_mut() {
            if client.caller.target == Some(domain) {
                client.caller.target = None;
            }
        }
        for permissions in self.specials.values_mut() {
            if let Some(without) = permissions.without(domain) {
                *permissions = without;
            }
        }
        let changes = self.revoke(domain);
        self.publish(&changes);
        self.announce(Special::ReleaseDomain);
        Ok(())
    }

    fn revoke(&mut self, domain: DomId) -> Vec<Change> {
        let affected = self.tree.select(&|node| {
            if node.permissions().owner() == domain {
                Visit::TakeWhole
            } else if node.permissions().without(domain).is_some() {
                Visit::Take
            } else {
                Visit::Pass
            }
        });
        let mut journal = Journal::default();
        let quota = Quota::DOM0;
        for (path, visit) in affected {
            let old = self
                .tree
                .get(&path)
                .and_then(|node| node.permissions().without(domain));
            let mut edit = Edit {
                tree: &mut self.tree,
                caller: Caller::DOM0,
                quota: &quota,
                journal: &mut journal,
            };
            // As dom0 and without limits neither can be refused.
            let _ = match (visit, old) {
                (Visit::TakeWhole, _) => edit.remove(&path),
                (_, Some(without)) => edit.set_permissions(&path, without),
                (_, None) => Ok(()),
            };
        }
        journal.changes
    }

    /// Gives `domain` the rights of `target`: it runs a service for it.
    pub fn set_target(&mut self, domain: DomId, target: DomId) -> Result<(), Error> {
        if !self.is_introduced(target) || domain == target {
            return Err(Error::NotFound);
        }
        let client = self.domains.get(&domain).ok_or(Error::NotFound)?.client;
        self.client(client)?.caller.target = Some(target);
        Ok(())
    }

    /// Fires a special: a domain came, shut down or went.
    pub fn announce(&mut self, special: Special) {
        let permissions = self.special_permissions(special);
        let callers = |id: ClientId| self.clients.get(&id).map(|client| client.caller);
        let firings = self.watches.fire_special(special, &permissions, &callers);
        self.deliver(firings);
    }

    /// Who may watch a special.
    pub fn special_permissions(&self, special: Special) -> Permissions {
        let default = || Permissions::owned_by(DomId::DOM0);
        self.specials.get(&special).cloned().unwrap_or_else(default)
    }

    /// Says who may watch a special.
    pub fn set_special_permissions(&mut self, special: Special, permissions: Permissions) {
        self.specials.insert(special, permissions);
    }
}
