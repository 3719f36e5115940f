//! The store for those who live in the same program: dom0's toolstack and backends.
//!
//! No wire, no waiting: a call is done when it returns. Values are text, as all of dom0's are.

use super::edit::Edit;
use super::{Caller, ClientId, Error, Path, Permissions, Store, TransactionId};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use core::str::FromStr;

/// Several steps of dom0 in one go; see [`Store::as_dom0`].
#[derive(Debug)]
pub struct Local<'a, 'b> {
    edit: &'a mut Edit<'b>,
}

impl Store {
    /// Reads and changes the tree as `client`, atomically: if `steps` fails, nothing has
    /// happened, and nobody sees a state in between.
    pub fn atomically<T>(
        &mut self,
        client: ClientId,
        steps: impl FnOnce(&mut Local<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.edit_atomically(client, |edit| steps(&mut Local { edit }))
    }

    /// Reads and changes the tree as dom0, atomically.
    pub fn as_dom0<T>(
        &mut self,
        steps: impl FnOnce(&mut Local<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let client = self.add_client(Caller::DOM0);
        let result = self.atomically(client, steps);
        self.remove_client(client);
        result
    }

    /// One step as `client` inside an open transaction.
    pub fn in_transaction<T>(
        &mut self,
        client: ClientId,
        transaction: TransactionId,
        step: impl FnOnce(&mut Local<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.edit(client, Some(transaction), |edit| step(&mut Local { edit }))
    }

    /// The value of a node as text, for dom0; `None` if there is none.
    pub fn get(&mut self, path: &str) -> Option<String> {
        self.as_dom0(|local| local.read(path)).ok()
    }

    /// Sets the value of a node, for dom0.
    pub fn put(&mut self, path: &str, value: impl Display) -> Result<(), Error> {
        self.as_dom0(|local| local.write(path, value))
    }
}

impl Local<'_, '_> {
    fn path(&self, text: &str) -> Result<Path, Error> {
        Path::resolve(text, self.edit.caller.domain())
    }

    /// The value of a node as text; bytes that are no text are replaced.
    pub fn read(&mut self, path: &str) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.read_bytes(path)?).into_owned())
    }

    /// The value of a node.
    pub fn read_bytes(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(path)?;
        Ok(self.edit.read(&path)?.to_vec())
    }

    /// The value of a node as a number or the like; [`Error::Invalid`] if it isn't one.
    pub fn parse<T: FromStr>(&mut self, path: &str) -> Result<T, Error> {
        self.read(path)?.trim().parse().map_err(|_| Error::Invalid)
    }

    /// The names below a node, in order.
    pub fn list(&mut self, path: &str) -> Result<Vec<String>, Error> {
        let path = self.path(path)?;
        Ok(self
            .edit
            .directory(&path)?
            .children()
            .map(|(name, _)| name.to_string())
            .collect())
    }

    /// Sets a value, making the node if need be.
    pub fn write(&mut self, path: &str, value: impl Display) -> Result<(), Error> {
        self.write_bytes(path, value.to_string().as_bytes())
    }

    /// Sets a value that may be any bytes.
    pub fn write_bytes(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        let path = self.path(path)?;
        self.edit.write(&path, value.into())
    }

    /// Sets a value and who may see it.
    pub fn write_with(
        &mut self,
        path: &str,
        value: impl Display,
        permissions: &Permissions,
    ) -> Result<(), Error> {
        self.write(path, value)?;
        self.set_permissions(path, permissions.clone())
    }

    /// Makes an empty node if there is none.
    pub fn make_directory(&mut self, path: &str) -> Result<(), Error> {
        let path = self.path(path)?;
        self.edit.make_directory(&path)
    }

    /// Removes a node and all below it.
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let path = self.path(path)?;
        self.edit.remove(&path)
    }

    /// Who may read and write a node.
    pub fn permissions(&mut self, path: &str) -> Result<Permissions, Error> {
        let path = self.path(path)?;
        self.edit.permissions(&path)
    }

    /// Says who may read and write a node.
    pub fn set_permissions(&mut self, path: &str, new: Permissions) -> Result<(), Error> {
        let path = self.path(path)?;
        self.edit.set_permissions(&path, new)
    }
}
