//! The host's physical disks and network cards, by name.
//!
//! Drivers add what they find, in the order of the bus: disks become `vda`, `vdb`, …, cards `eth0`,
//! `eth1`, …. Whoever uses one asks for it by name and sees a trait; who may use it is decided
//! elsewhere. On a laptop tests add fakes.

mod disk_check;
mod nic_check;
mod start;

pub use disk_check::disk_check;
pub use nic_check::nic_check;

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use backends::host::{Disk, Nic};

use crate::storage::Disks;

/// Everything that was found.
#[derive(Default)]
pub struct Devices {
    disks: Vec<(String, Rc<dyn Disk>)>,
    nics: Vec<(String, Rc<dyn Nic>)>,
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disks = self.disks.iter().map(|(name, _)| name);
        let nics = self.nics.iter().map(|(name, _)| name);
        f.debug_list().entries(disks).entries(nics).finish()
    }
}

impl Devices {
    /// Adds the next disk; answers its name.
    pub fn add_disk(&mut self, disk: Rc<dyn Disk>) -> &str {
        let name = format!("vd{}", letters(self.disks.len()));
        &self.disks.push_mut((name, disk)).0
    }

    /// Adds the next network card; answers its name.
    pub fn add_nic(&mut self, nic: Rc<dyn Nic>) -> &str {
        let name = format!("eth{}", self.nics.len());
        &self.nics.push_mut((name, nic)).0
    }

    /// A disk by its name, without `/dev/`.
    #[must_use]
    pub fn disk(&self, name: &str) -> Option<Rc<dyn Disk>> {
        find(&self.disks, name)
    }

    /// All disks, with their names.
    pub fn disks(&self) -> impl Iterator<Item = (&str, &Rc<dyn Disk>)> {
        self.disks.iter().map(|(name, disk)| (name.as_str(), disk))
    }

    /// A network card by its name.
    #[must_use]
    pub fn nic(&self, name: &str) -> Option<Rc<dyn Nic>> {
        find(&self.nics, name)
    }

    /// All network cards, with their names.
    pub fn nics(&self) -> impl Iterator<Item = (&str, &Rc<dyn Nic>)> {
        self.nics.iter().map(|(name, nic)| (name.as_str(), nic))
    }
}

impl Disks for Devices {
    fn all(&self) -> Vec<(String, Rc<dyn Disk>)> {
        self.disks.clone()
    }
}

fn find<T: ?Sized>(all: &[(String, Rc<T>)], name: &str) -> Option<Rc<T>> {
    let found = all.iter().find(|(has, _)| has == name);
    found.map(|(_, device)| device.clone())
}

/// Numbers in letters: a, b, …, z, aa, ab, ….
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        let letter = b'a'.saturating_add(u8::try_from(number % 26).unwrap_or(0));
        text.insert(0, char::from(letter));
        match number / 26 {
            0 => return text,
            rest => number = rest - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backends::host::fake::FakeDisk;

    #[test]
    fn disks_are_found_by_the_names_they_were_given() {
        let mut devices = Devices::default();
        assert_eq!(devices.add_disk(Rc::new(FakeDisk::new(8))), "vda");
        assert_eq!(devices.add_disk(Rc::new(FakeDisk::new(16))), "vdb");
        let sectors = devices.disk("vdb").map(|disk| disk.geometry().sectors);
        assert_eq!(sectors, Some(16));
        assert!(devices.disk("vdc").is_none());
        assert_eq!(devices.disks().count(), 2);
    }

    #[test]
    fn names_go_on_behind_z() {
        let names = [0, 25, 26, 27, 26 + 26 * 26].map(letters);
        assert_eq!(names, ["a", "z", "aa", "ab", "aaa"]);
    }
}
