//! Reads and changes on behalf of a caller: the one place where permissions and quotas rule.
//!
//! An [`Edit`] works on any tree (the real one, a transaction's copy, the real one again while a
//! transaction is replayed) and keeps a [`Journal`]: what was looked at, what was asked for, and
//! what changed. The journal is what transactions and watches live on.

use super::quota::room;
use super::store::Caller;
use super::tree::{Node, Tree};
use super::{Access, Error, Path, Permissions, Quota};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a transaction relied on at one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Value and permissions, or that there is no such node.
    pub(super) content: bool,
    /// The names of its children.
    pub(super) names: bool,
}

/// A change as it was asked for, to be done again when a transaction ends.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Write(Path, Arc<[u8]>),
    MakeDirectory(Path),
    Remove(Path),
    SetPermissions(Path, Permissions),
}

/// A change that happened, as watches need it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: Path,
    /// Who could see the node before, if its permissions changed or it is gone.
    pub(super) old_permissions: Option<Permissions>,
    /// The node came or went: its parent's readers learn of it as well.
    pub(super) parent: Option<Permissions>,
    /// The subtree that went.
    pub(super) removed: Option<Arc<Node>>,
}

/// What an edit looked at and did.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) seen: BTreeMap<Path, Seen>,
    pub(super) operations: Vec<Operation>,
    pub(super) changes: Vec<Change>,
}

/// A caller at work on a tree.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) caller: Caller,
    pub(super) quota: &'a Quota,
    pub(super) journal: &'a mut Journal,
}

impl Edit<'_> {
    /// The value of a node.
    pub(super) fn read(&mut self, path: &Path) -> Result<Arc<[u8]>, Error> {
        Ok(self
            .readable(
                path,
                Seen {
                    content: true,
                    names: false,
                },
            )?
            .value()
            .clone())
    }

    /// A node whose children may be listed.
    pub(super) fn directory(&mut self, path: &Path) -> Result<&Node, Error> {
        self.readable(
            path,
            Seen {
                content: true,
                names: true,
            },
        )
    }

    /// The permissions of a node.
    pub(super) fn permissions(&mut self, path: &Path) -> Result<Permissions, Error> {
        Ok(self
            .readable(
                path,
                Seen {
                    content: true,
                    names: false,
                },
            )?
            .permissions()
            .clone())
    }

    /// Sets a value; makes the node, and those above it, if there are none.
    pub(super) fn write(&mut self, path: &Path, value: Arc<[u8]>) -> Result<(), Error> {
        if value.len() > self.quota.value_bytes {
            return Err(Error::NoSpace);
        }
        self.ask(Operation::Write(path.clone(), value.clone()))?;
        if !self.writable_or_missing(path)? {
            return self.create(path, value);
        }
        self.tree.set_value(path, value);
        self.changed(path.clone(), None);
        Ok(())
    }

    /// Makes an empty node, and those above it; one that is there already is left alone.
    pub(super) fn make_directory(&mut self, path: &Path) -> Result<(), Error> {
        self.ask(Operation::MakeDirectory(path.clone()))?;
        if self.writable_or_missing(path)? {
            return Ok(());
        }
        self.create(path, Arc::new([]))
    }

    /// Removes a node and all below it. That it was missing already is fine, as long as its
    /// parent is there.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), Error> {
        let parent = path.parent().ok_or(Error::Invalid)?;
        self.ask(Operation::Remove(path.clone()))?;
        if !self.writable_or_missing(path)? {
            self.saw(
                &parent,
                Seen {
                    content: true,
                    names: false,
                },
            )?;
            return self.tree.get(&parent).map(|_| ()).ok_or(Error::NotFound);
        }
        let parent = self
            .tree
            .get(&parent)
            .map(|node| node.permissions().clone());
        if let Some(removed) = self.tree.remove(path) {
            self.journal.changes.push(Change {
                path: path.clone(),
                old_permissions: Some(removed.permissions().clone()),
                parent,
                removed: Some(removed),
            });
        }
        Ok(())
    }

    /// Replaces the permissions of a node. Only the owner may, and only dom0 gives nodes away.
    pub(super) fn set_permissions(&mut self, path: &Path, new: Permissions) -> Result<(), Error> {
        self.ask(Operation::SetPermissions(path.clone(), new.clone()))?;
        self.saw(
            path,
            Seen {
                content: true,
                names: false,
            },
        )?;
        let Some(node) = self.tree.get(path) else {
            return Err(self.missing(path, Access::Write));
        };
        let old = node.permissions().clone();
        let keeps_owner = new.owner() == old.owner();
        let may = self.caller.acts_for(old.owner()) && keeps_owner;
        if !may && !self.caller.is_privileged() {
            return Err(Error::Denied);
        }
        self.tree.set_permissions(path, new);
        self.changed(path.clone(), Some(old));
        Ok(())
    }

    /// Does again what was asked for before.
    pub(super) fn replay(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Write(path, value) => self.write(path, value.clone()),
            Operation::MakeDirectory(path) => self.make_directory(path),
            Operation::Remove(path) => self.remove(path),
            Operation::SetPermissions(path, new) => self.set_permissions(path, new.clone()),
        }
    }

    fn readable(&mut self, path: &Path, seen: Seen) -> Result<&Node, Error> {
        self.saw(path, seen)?;
        let error = match self.tree.get(path) {
            Some(node) if self.caller.access_to(node.permissions()).can_read() => None,
            Some(_) => Some(Error::Denied),
            None => Some(self.missing(path, Access::Read)),
        };
        match error {
            Some(error) => Err(error),
            None => self.tree.get(path).ok_or(Error::NotFound),
        }
    }

    /// Whether the node exists; refuses if the caller may not write it or, when it is missing,
    /// not write the place where it would go.
    fn writable_or_missing(&mut self, path: &Path) -> Result<bool, Error> {
        self.saw(
            path,
            Seen {
                content: true,
                names: false,
            },
        )?;
        match self.tree.get(path) {
            Some(node) if self.caller.access_to(node.permissions()).can_write() => Ok(true),
            Some(_) => Err(Error::Denied),
            None => match self.missing(path, Access::Write) {
                Error::NotFound => Ok(false),
                error => Err(error),
            },
        }
    }

    /// The answer for a node that doesn't exist: only those who may look at (or write to) the
    /// nearest node above learn that it doesn't.
    fn missing(&self, path: &Path, wanted: Access) -> Error {
        let access = self
            .caller
            .access_to(self.tree.nearest(path).0.permissions());
        let allowed = if wanted.can_write() {
            access.can_write()
        } else {
            access.can_read()
        };
        if allowed {
            Error::NotFound
        } else {
            Error::Denied
        }
    }

    /// Makes `path` and what is missing above it. All have the permissions of the lowest node
    /// that existed, but an ordinary domain owns (and pays for) what it makes.
    fn create(&mut self, path: &Path, value: Arc<[u8]>) -> Result<(), Error> {
        let (above, depth) = self.tree.nearest(path);
        let inherited = above.permissions().clone();
        let missing = path.parts().count().saturating_sub(depth);
        let permissions = match self.caller.is_privileged() {
            true => inherited.clone(),
            false => inherited.with_owner(self.caller.domain()),
        };
        if !self.caller.is_privileged() {
            let more = u32::try_from(missing.saturating_sub(1)).map_err(|_| Error::NoSpace)?;
            let used = self.tree.owned_by(self.caller.domain());
            room(used.saturating_add(more), self.quota.nodes)?;
        }
        let mut wanted: Vec<Path> = Vec::with_capacity(missing);
        for text in path.upwards().take(missing) {
            wanted.push(Path::new(text)?);
        }
        // All that this rests on, before anything changes: that they are missing, and what the
        // node above allows.
        for path in wanted
            .iter()
            .cloned()
            .chain(wanted.last().and_then(Path::parent))
        {
            self.saw(
                &path,
                Seen {
                    content: true,
                    names: false,
                },
            )?;
        }
        let mut parent = inherited;
        for (step, new) in wanted.iter().rev().enumerate() {
            let value = if step + 1 == missing {
                value.clone()
            } else {
                Arc::new([])
            };
            self.tree.create(new, value, permissions.clone());
            self.journal.changes.push(Change {
                path: new.clone(),
                old_permissions: None,
                parent: Some(core::mem::replace(&mut parent, permissions.clone())),
                removed: None,
            });
        }
        Ok(())
    }

    fn changed(&mut self, path: Path, old_permissions: Option<Permissions>) {
        self.journal.changes.push(Change {
            path,
            old_permissions,
            parent: None,
            removed: None,
        });
    }

    fn saw(&mut self, path: &Path, what: Seen) -> Result<(), Error> {
        if let Some(seen) = self.journal.seen.get_mut(path) {
            seen.content |= what.content;
            seen.names |= what.names;
            return Ok(());
        }
        room(self.journal.seen.len(), self.quota.transaction_steps)?;
        self.journal.seen.insert(path.clone(), what);
        Ok(())
    }

    fn ask(&mut self, operation: Operation) -> Result<(), Error> {
        room(self.journal.operations.len(), self.quota.transaction_steps)?;
        self.journal.operations.push(operation);
        Ok(())
    }
}
