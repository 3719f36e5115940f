//! The tree itself: values, permissions, children; no policy.
//!
//! Nodes hang on `Arc`s and a change copies only the way from the root down to it, and only what
//! somebody else still holds. A clone of the whole tree, which is what a transaction starts
//! from, therefore costs two reference counts.

use super::{Path, Permissions};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use guest_abi::ids::DomId;

/// A moment in the life of the tree: grows with every change.
pub(super) type Moment = u64;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    value: Arc<[u8]>,
    permissions: Permissions,
    children: BTreeMap<Arc<str>, Arc<Node>>,
    /// When value or permissions last changed.
    content: Moment,
    /// When a child last came or went.
    names: Moment,
}

impl Node {
    fn new(value: Arc<[u8]>, permissions: Permissions, now: Moment) -> Self {
        Self {
            value,
            permissions,
            children: BTreeMap::new(),
            content: now,
            names: now,
        }
    }

    pub(super) fn value(&self) -> &Arc<[u8]> {
        &self.value
    }

    pub(super) fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    pub(super) fn content_moment(&self) -> Moment {
        self.content
    }

    pub(super) fn names_moment(&self) -> Moment {
        self.names
    }

    /// The children with their names, in order.
    pub(super) fn children(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Self>)> {
        self.children.iter()
    }

    /// The node at `relative` (names separated by `/`) below this one.
    pub(super) fn descend<'a>(&self, parts: impl Iterator<Item = &'a str>) -> Option<&Self> {
        let mut node = self;
        for part in parts {
            node = node.children.get(part)?;
        }
        Some(node)
    }

    /// Counts this node and all below for their owners.
    fn count_owners(&self, count: &mut impl FnMut(DomId)) {
        count(self.permissions.owner());
        self.children
            .values()
            .for_each(|child| child.count_owners(count));
    }
}

/// The whole tree.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Arc<Node>,
    /// Nodes by owner; a domain that owns none isn't in it.
    owned: Arc<BTreeMap<DomId, u32>>,
    now: Moment,
}

impl Tree {
    /// A tree of nothing but a root, which dom0 owns and all may read.
    pub(super) fn new(root: Permissions) -> Self {
        let owned = BTreeMap::from([(root.owner(), 1)]);
        Self {
            root: Arc::new(Node::new(Arc::new([]), root, 0)),
            owned: Arc::new(owned),
            now: 0,
        }
    }

    /// When the tree last changed.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Node> {
        self.root.descend(path.parts())
    }

    /// The node at `path`, or the lowest one above it that exists, with that one's depth.
    pub(super) fn nearest(&self, path: &Path) -> (&Node, usize) {
        let mut node = &*self.root;
        let mut depth = 0;
        for part in path.parts() {
            let Some(child) = node.children.get(part) else {
                break;
            };
            node = child;
            depth += 1;
        }
        (node, depth)
    }

    /// How many nodes `domain` owns.
    pub(super) fn owned_by(&self, domain: DomId) -> u32 {
        self.owned.get(&domain).copied().unwrap_or(0)
    }

    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    fn node_mut(&mut self, path: &Path) -> Option<&mut Node> {
        self.get(path)?;
        let mut node = Arc::make_mut(&mut self.root);
        for part in path.parts() {
            node = Arc::make_mut(node.children.get_mut(part)?);
        }
        Some(node)
    }

    fn account(&mut self, domain: DomId, add: u32, remove: u32) {
        let owned = Arc::make_mut(&mut self.owned);
        let count = owned.entry(domain).or_insert(0);
        *count = count.saturating_add(add).saturating_sub(remove);
        if *count == 0 {
            owned.remove(&domain);
        }
    }

    /// Replaces the value of an existing node.
    pub(super) fn set_value(&mut self, path: &Path, value: Arc<[u8]>) {
        let now = self.tick();
        if let Some(node) = self.node_mut(path) {
            node.value = value;
            node.content = now;
        }
    }

    /// Replaces the permissions of an existing node.
    pub(super) fn set_permissions(&mut self, path: &Path, permissions: Permissions) {
        let now = self.tick();
        let new_owner = permissions.owner();
        let Some(node) = self.node_mut(path) else {
            return;
        };
        let old_owner = node.permissions.owner();
        node.permissions = permissions;
        node.content = now;
        self.account(old_owner, 0, 1);
        self.account(new_owner, 1, 0);
    }

    /// Adds a node below an existing one; nothing happens if it exists already.
    pub(super) fn create(&mut self, path: &Path, value: Arc<[u8]>, permissions: Permissions) {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return;
        };
        let now = self.tick();
        let owner = permissions.owner();
        let Some(parent) = self.node_mut(&parent) else {
            return;
        };
        if parent.children.contains_key(name) {
            return;
        }
        parent
            .children
            .insert(name.into(), Arc::new(Node::new(value, permissions, now)));
        parent.names = now;
        self.account(owner, 1, 0);
    }

    /// Takes a node and all below it out of the tree. The root stays.
    pub(super) fn remove(&mut self, path: &Path) -> Option<Arc<Node>> {
        let (parent, name) = (path.parent()?, path.name()?);
        self.get(path)?;
        let now = self.tick();
        let parent = self.node_mut(&parent)?;
        let removed = parent.children.remove(name)?;
        parent.names = now;
        let mut gone: BTreeMap<DomId, u32> = BTreeMap::new();
        removed.count_owners(&mut |owner| *gone.entry(owner).or_insert(0) += 1);
        for (owner, count) in gone {
            self.account(owner, 0, count);
        }
        Some(removed)
    }

    /// Every node with its path that `wanted` picks, from the root down; below a node for which
    /// it answers [`Visit::TakeWhole`] nothing more is visited.
    pub(super) fn select(&self, wanted: &impl Fn(&Node) -> Visit) -> Vec<(Path, Visit)> {
        let mut found = Vec::new();
        let mut work: Vec<(Path, &Node)> = Vec::from([(Path::root(), &*self.root)]);
        while let Some((path, node)) = work.pop() {
            let visit = wanted(node);
            if visit != Visit::TakeWhole {
                let below = node.children.iter();
                work.extend(below.filter_map(|(name, n)| Some((path.join(name).ok()?, &**n))));
            }
            if visit != Visit::Pass {
                found.push((path, visit));
            }
        }
        found
    }
}

/// What to do with a node met in [`Tree::select`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visit {
    /// Not wanted; look below it.
    Pass,
    /// Wanted; look below it too.
    Take,
    /// Wanted with all that is below it.
    TakeWhole,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(Permissions::owned_by(DomId::new(0)))
    }

    fn p(text: &str) -> Path {
        Path::new(text).unwrap()
    }

    fn add(tree: &mut Tree, path: &str, owner: u16) {
        tree.create(
            &p(path),
            Arc::from(*b"v"),
            Permissions::owned_by(DomId::new(owner)),
        );
    }

    #[test]
    fn a_clone_keeps_the_old_state() {
        let mut tree = tree();
        add(&mut tree, "/a", 0);
        let snapshot = tree.clone();
        tree.set_value(&p("/a"), Arc::from(*b"new"));
        add(&mut tree, "/a/b", 0);
        assert_eq!(&**snapshot.get(&p("/a")).unwrap().value(), b"v");
        assert!(snapshot.get(&p("/a/b")).is_none());
    }

    #[test]
    fn owners_are_counted_through_every_change() {
        let one = DomId::new(1);
        let mut tree = tree();
        add(&mut tree, "/a", 1);
        add(&mut tree, "/a/b", 1);
        add(&mut tree, "/a/c", 2);
        assert_eq!(tree.owned_by(one), 2);
        tree.set_permissions(&p("/a/c"), Permissions::owned_by(one));
        assert_eq!((tree.owned_by(one), tree.owned_by(DomId::new(2))), (3, 0));
        tree.remove(&p("/a"));
        assert_eq!(tree.owned_by(one), 0);
    }

    #[test]
    fn a_parent_notes_names_and_not_values() {
        let mut tree = tree();
        add(&mut tree, "/a", 0);
        let names = tree.get(&Path::root()).unwrap().names_moment();
        tree.set_value(&p("/a"), Arc::from(*b"x"));
        assert_eq!(tree.get(&Path::root()).unwrap().names_moment(), names);
        tree.remove(&p("/a"));
        assert!(tree.get(&Path::root()).unwrap().names_moment() > names);
    }

    #[test]
    fn the_root_cannot_be_removed() {
        assert!(tree().remove(&Path::root()).is_none());
    }
}
