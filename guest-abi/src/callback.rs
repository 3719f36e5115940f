//! `callback_op`: where the hypervisor enters a guest kernel.

use crate::frame::GuestVirtAddr;

wire_enum! {
    /// `callback_op` commands.
    pub enum CallbackOp: u32 {
        Register = 0,
        Unregister = 1,
    }
}

wire_enum! {
    /// Which entry.
    pub enum CallbackType: u16 {
        /// An event waits.
        Event = 0,
        /// A guest segment could not be loaded.
        Failsafe = 1,
        /// A user program called by `syscall`.
        Syscall = 2,
        Nmi = 4,
        Sysenter = 5,
        Syscall32 = 7,
    }
}

/// Flag: mask events on entry.
pub const CALLBACKF_MASK_EVENTS: u16 = 1;

abi! {
    /// `CALLBACKOP_register`.
    pub struct CallbackRegister: 16 {
        /// [`CallbackType`].
        0 => kind: u16,
        2 => flags: u16,
        #[doc(hidden)]
        4 => _pad0: u32,
        8 => address: GuestVirtAddr,
    }

    /// `CALLBACKOP_unregister`.
    pub struct CallbackUnregister: 4 {
        /// [`CallbackType`].
        0 => kind: u16,
        #[doc(hidden)]
        2 => _pad0: u16,
    }
}
