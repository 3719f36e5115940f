//! What a device needs of xenstore, so that the handshake can be tested without one.

use alloc::{string::String, vec::Vec};

use super::{StoreError, Transaction, Xenbus};

/// Nodes that can be read, written together, and waited for.
pub trait Store {
    /// A node's value; `None` when it is not there.
    ///
    /// # Errors
    ///
    /// The server's refusal; likewise for all of these.
    fn get(&mut self, path: &str) -> Result<Option<String>, StoreError>;

    /// Sets nodes, all at once.
    fn set(&mut self, nodes: &[(String, String)]) -> Result<(), StoreError>;

    /// The names of a node's children; none when it is not there.
    fn children(&mut self, path: &str) -> Result<Vec<String>, StoreError>;

    /// Watches a node.
    fn begin_watch(&mut self, path: &str, token: &str) -> Result<(), StoreError>;

    /// Ends a watch, and forgets that it fired.
    fn end_watch(&mut self, path: &str, token: &str) -> Result<(), StoreError>;

    /// Waits until a watch with this token has fired.
    fn wait(&mut self, token: &str);

    /// Forgets that watches with this token have fired; whether any had.
    fn has_fired(&mut self, token: &str) -> bool;
}

/// The value, unless the node is not there.
fn unless_missing<T>(answer: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Err(StoreError::Refused(name)) if name == "ENOENT" => Ok(None),
        other => other.map(Some),
    }
}

impl Store for Xenbus {
    fn get(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        let value = unless_missing(self.read(Transaction::NONE, path))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn set(&mut self, nodes: &[(String, String)]) -> Result<(), StoreError> {
        if let [(path, value)] = nodes {
            return self.write(Transaction::NONE, path, value.as_bytes());
        }
        self.transaction(|store, within| {
            nodes
                .iter()
                .try_for_each(|(path, value)| store.write(within, path, value.as_bytes()))
        })
    }

    fn children(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        let names = unless_missing(self.list(Transaction::NONE, path))?;
        Ok(names.unwrap_or_default())
    }

    fn begin_watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        self.watch(path, token)
    }

    fn end_watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        self.unwatch(path, token)?;
        self.has_fired(token);
        Ok(())
    }

    fn wait(&mut self, token: &str) {
        self.next_event_of(token);
    }

    fn has_fired(&mut self, token: &str) -> bool {
        self.collect();
        let before = self.fired.len();
        self.fired.retain(|event| event.token != token);
        self.fired.len() != before
    }
}

/// A store of a few nodes, and a script that plays the other end.
#[cfg(test)]
pub(crate) mod fake {
    use std::collections::{BTreeMap, VecDeque};

    use super::{Store, StoreError};

    /// What the other end does: writes these nodes.
    pub(crate) type Step = Vec<(&'static str, &'static str)>;

    /// The nodes; each wait lets the other end take its next step.
    #[derive(Default)]
    pub(crate) struct FakeStore {
        pub(crate) nodes: BTreeMap<String, String>,
        pub(crate) script: VecDeque<Step>,
    }

    impl FakeStore {
        pub(crate) fn new(nodes: &[(&str, &str)]) -> Self {
            let mut store = Self::default();
            store.write(nodes);
            store
        }

        pub(crate) fn write(&mut self, nodes: &[(&str, &str)]) {
            for (path, value) in nodes {
                self.nodes.insert((*path).into(), (*value).into());
            }
        }
    }

    impl Store for FakeStore {
        fn get(&mut self, path: &str) -> Result<Option<String>, StoreError> {
            Ok(self.nodes.get(path).cloned())
        }

        fn set(&mut self, nodes: &[(String, String)]) -> Result<(), StoreError> {
            self.nodes.extend(nodes.iter().cloned());
            Ok(())
        }

        fn children(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
            let prefix = format!("{path}/");
            let mut names: Vec<String> = self
                .nodes
                .keys()
                .filter_map(|key| key.strip_prefix(&prefix)?.split('/').next())
                .map(String::from)
                .collect();
            names.dedup();
            Ok(names)
        }

        fn begin_watch(&mut self, _path: &str, _token: &str) -> Result<(), StoreError> {
            Ok(())
        }

        fn end_watch(&mut self, _path: &str, _token: &str) -> Result<(), StoreError> {
            Ok(())
        }

        fn wait(&mut self, _token: &str) {
            let step = self.script.pop_front().expect("nothing more will happen");
            self.write(&step);
        }

        fn has_fired(&mut self, _token: &str) -> bool {
            true
        }
    }
}
