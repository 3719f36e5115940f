//! Guest pointers: claims, tested by copying.
//!
//! Holding a [`GuestPtr`] proves nothing. Each copy checks the whole range against the core's hole
//! and catches faults; what was copied in is then checked and used, and never read again, because
//! another vCPU may change it meanwhile.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use guest_abi::errno::Errno;
use guest_abi::frame::GuestVirtAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::arch::guest_memory;

/// A guest's claim that a `T` lies at this address of its current kernel address space.
#[derive(Debug)]
pub struct GuestPtr<T> {
    address: GuestVirtAddr,
    what: PhantomData<fn() -> T>,
}

impl<T> Clone for GuestPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GuestPtr<T> {}

impl<T> GuestPtr<T> {
    /// The claim that an argument register or a field makes.
    pub const fn new(address: u64) -> Self {
        Self {
            address: GuestVirtAddr::new(address),
            what: PhantomData,
        }
    }

    /// The null pointer, by which some calls mean "none".
    pub fn is_null(self) -> bool {
        self.address.get() == 0
    }

    /// The address claimed.
    pub const fn address(self) -> GuestVirtAddr {
        self.address
    }

    /// What lies `offset` bytes into the value claimed: one of its fields.
    pub const fn field<F>(self, offset: usize) -> GuestPtr<F> {
        GuestPtr::new(self.address.get().wrapping_add(offset as u64))
    }

    /// This element of an array and those behind it, wherever that leads.
    pub fn and_following(self) -> impl Iterator<Item = Self> {
        let step = |at: &Self| Some(at.field(size_of::<T>()));
        core::iter::successors(Some(self), step)
    }

    /// The `index`-th element of the array that starts here.
    ///
    /// # Errors
    /// `EFAULT` when the address would wrap.
    pub fn at(self, index: u64) -> Result<Self, Errno> {
        let step = index
            .checked_mul(size_of::<T>() as u64)
            .ok_or(Errno::EFAULT)?;
        let address = self.address.get().checked_add(step).ok_or(Errno::EFAULT)?;
        Ok(Self::new(address))
    }
}

impl<T: FromBytes + IntoBytes + Immutable> GuestPtr<T> {
    /// Copies the value in.
    ///
    /// # Errors
    /// `EFAULT` when any byte of it cannot be read by the guest.
    pub fn copy_in(self) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        guest_memory::copy_from_guest(self.address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies `into.len()` elements in.
    ///
    /// # Errors
    /// `EFAULT` when any byte of them cannot be read by the guest.
    pub fn copy_in_slice(self, into: &mut [T]) -> Result<(), Errno> {
        guest_memory::copy_from_guest(self.address, into.as_mut_bytes())?;
        Ok(())
    }

    /// Copies as many elements in as there is room for.
    ///
    /// # Errors
    /// `EFAULT` when any byte of them cannot be read by the guest.
    #[inline]
    pub fn copy_in_all(self, room: &mut [MaybeUninit<T>]) -> Result<&[T], Errno> {
        Ok(guest_memory::copy_values_from_guest(self.address, room)?)
    }

    /// Copies `value` out.
    ///
    /// # Errors
    /// `EFAULT` when the guest could not write there itself.
    pub fn copy_out(self, value: &T) -> Result<(), Errno> {
        guest_memory::copy_to_guest(self.address, value.as_bytes())?;
        Ok(())
    }

    /// Copies `values` out.
    ///
    /// # Errors
    /// `EFAULT` when the guest could not write there itself.
    pub fn copy_out_slice(self, values: &[T]) -> Result<(), Errno> {
        guest_memory::copy_to_guest(self.address, values.as_bytes())?;
        Ok(())
    }
}
