//! Pages that a device and this program share.

use core::sync::atomic::Ordering;

use frontends::memory::{self, Page};
use guest_abi::Errno;

/// A page of memory that a device reads and writes. One real and one fake implementor.
///
/// Offsets are the drivers' own: one beyond the page is a bug and panics.
pub trait DmaPage: Sized {
    /// A page of zeros.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn zeroed() -> Result<Self, Errno>;

    /// What devices know an address of this program's by, to the end of that page.
    fn machine_address_of(address: u64) -> Option<u64>;

    /// Where devices find the page.
    fn machine_address(&self) -> u64;

    /// Reads a byte.
    fn load_u8(&self, offset: usize) -> u8;

    /// Reads an aligned word, before anything that is read later.
    fn load_u16(&self, offset: usize) -> u16;

    /// Likewise.
    fn load_u32(&self, offset: usize) -> u32;

    /// Writes an aligned word, after everything that was written before.
    fn store_u16(&self, offset: usize, value: u16);

    /// Writes an aligned word.
    fn store_u64(&self, offset: usize, value: u64);
}

impl DmaPage for Page {
    fn zeroed() -> Result<Self, Errno> {
        Page::zeroed()
    }

    fn machine_address_of(address: u64) -> Option<u64> {
        memory::machine_address(address).map(guest_abi::MachAddr::get)
    }

    fn machine_address(&self) -> u64 {
        self.frame().to_maddr().get()
    }

    fn load_u8(&self, offset: usize) -> u8 {
        let mut byte = [0];
        self.read(offset, &mut byte);
        byte[0]
    }

    fn load_u16(&self, offset: usize) -> u16 {
        self.u16(offset).load(Ordering::Acquire)
    }

    fn load_u32(&self, offset: usize) -> u32 {
        self.u32(offset).load(Ordering::Acquire)
    }

    fn store_u16(&self, offset: usize, value: u16) {
        self.u16(offset).store(value, Ordering::Release);
    }

    fn store_u64(&self, offset: usize, value: u64) {
        self.u64(offset).store(value, Ordering::Relaxed);
    }
}

/// Memory that a test's device sees as well.
#[cfg(test)]
pub(crate) mod fake {
    use super::{DmaPage, Errno};
    use alloc::rc::Rc;
    use core::cell::RefCell;

    /// A page; clones are the same page, and its address is a machine address.
    #[derive(Clone, Debug)]
    pub(crate) struct FakePage(pub(crate) Rc<RefCell<[u8; 4096]>>);

    impl FakePage {
        pub(crate) fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
            self.0.borrow()[offset..offset + N].try_into().unwrap()
        }

        pub(crate) fn put(&self, offset: usize, bytes: &[u8]) {
            self.0.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }

    std::thread_local! {
        /// All pages, by number: where the "device" finds them.
        static PAGES: RefCell<Vec<FakePage>> = const { RefCell::new(Vec::new()) };
    }

    /// The page at a machine address.
    pub(crate) fn page_at(address: u64) -> FakePage {
        let number = usize::try_from(address / 4096).unwrap();
        PAGES.with_borrow(|pages| pages[number - 1].clone())
    }

    impl DmaPage for FakePage {
        fn zeroed() -> Result<Self, Errno> {
            let page = Self(Rc::new(RefCell::new([0; 4096])));
            PAGES.with_borrow_mut(|pages| pages.push(page.clone()));
            Ok(page)
        }

        fn machine_address_of(address: u64) -> Option<u64> {
            Some(address)
        }

        fn machine_address(&self) -> u64 {
            let at = PAGES.with_borrow(|pages| {
                let same = |page: &FakePage| Rc::ptr_eq(&page.0, &self.0);
                pages.iter().position(same).unwrap()
            });
            (at as u64 + 1) * 4096
        }

        fn load_u8(&self, offset: usize) -> u8 {
            self.bytes::<1>(offset)[0]
        }

        fn load_u16(&self, offset: usize) -> u16 {
            u16::from_le_bytes(self.bytes(offset))
        }

        fn load_u32(&self, offset: usize) -> u32 {
            u32::from_le_bytes(self.bytes(offset))
        }

        fn store_u16(&self, offset: usize, value: u16) {
            self.put(offset, &value.to_le_bytes());
        }

        fn store_u64(&self, offset: usize, value: u64) {
            self.put(offset, &value.to_le_bytes());
        }
    }
}
