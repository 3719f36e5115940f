//! Transactions: a client's private copy of the tree, and its way back.
//!
//! 1. Start: the tree is cloned twice, which costs nothing: `base` stays as it was, `work` is
//!    what the client sees and changes.
//! 2. End: every node the client relied on must be in the real tree what it was in `base`;
//!    otherwise the answer is `EAGAIN` and the client starts over.
//! 3. Then the client's changes are done again on a copy of the real tree, which replaces it
//!    only when all of them worked. Watches fire for these changes only.
//!
//! What counts as relied on is fine: whoever adds a child relies on its parent's permissions but
//! not on the parent's other children, so guests that set up devices side by side don't collide.

use super::edit::{Change, Edit, Journal, Seen};
use super::store::Caller;
use super::tree::Tree;
use super::{Error, Path, Quota};
use alloc::vec::Vec;

/// The number of a transaction, unique for its client; never 0, which means "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(pub(super) u32);

impl TransactionId {
    /// The number as it goes on the wire; `None` for 0.
    pub fn new(raw: u32) -> Option<Self> {
        (raw != 0).then_some(Self(raw))
    }

    /// The raw number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    base: Tree,
    work: Tree,
    journal: Journal,
}

impl Transaction {
    /// Opens a transaction on the tree as it is now.
    pub(super) fn start(tree: &Tree) -> Self {
        Self {
            base: tree.clone(),
            work: tree.clone(),
            journal: Journal::default(),
        }
    }

    /// Does one step in the private copy.
    pub(super) fn step<T>(
        &mut self,
        caller: Caller,
        quota: &Quota,
        step: impl FnOnce(&mut Edit<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let asked = self.journal.operations.len();
        let Self { work, journal, .. } = self;
        step(&mut Edit {
            tree: work,
            caller,
            quota,
            journal,
        })
        .inspect_err(|_| {
            // A refused change did nothing, so there is nothing to do again either.
            self.journal.operations.truncate(asked);
        })
    }

    /// Ends the transaction: `tree` becomes what it asks for, or stays as it is.
    pub(super) fn commit(
        self,
        tree: &mut Tree,
        caller: Caller,
        quota: &Quota,
    ) -> Result<Vec<Change>, Error> {
        if tree.now() == self.base.now() {
            *tree = self.work;
            return Ok(self.journal.changes);
        }
        if !self
            .journal
            .seen
            .iter()
            .all(|(path, seen)| same(path, *seen, &self.base, tree))
        {
            return Err(Error::Again);
        }
        let mut new = tree.clone();
        let mut journal = Journal::default();
        let mut edit = Edit {
            tree: &mut new,
            caller,
            quota,
            journal: &mut journal,
        };
        for operation in &self.journal.operations {
            edit.replay(operation).map_err(|error| match error {
                Error::NoSpace => error,
                _ => Error::Again,
            })?;
        }
        *tree = new;
        Ok(journal.changes)
    }
}

/// Whether what was seen at `path` is the same in both trees.
fn same(path: &Path, seen: Seen, base: &Tree, tree: &Tree) -> bool {
    let (then, now) = (base.get(path), tree.get(path));
    let content = then.map(|n| n.content_moment()) == now.map(|n| n.content_moment());
    let names = then.map(|n| n.names_moment()) == now.map(|n| n.names_moment());
    (!seen.content || content) && (!seen.names || names)
}
