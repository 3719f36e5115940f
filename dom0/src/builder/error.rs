//! Why a domain could not be built, for the user.

use core::fmt;

use guest_abi::Errno;
use guest_abi::layout::LayoutError;

use super::ramdisk::RamdiskError;

/// Why a domain could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The kernel and the domain's size don't go together.
    Layout(LayoutError),
    /// The host's memory doesn't suffice.
    NotEnoughMemory {
        /// Free memory, in KiB.
        free_kib: u64,
        /// Memory asked for, in KiB.
        asked_kib: u64,
    },
    /// dom0's own memory doesn't suffice.
    Dom0Memory,
    /// The command line has no room.
    CommandLineTooLong {
        /// Its bytes.
        length: usize,
        /// The most there may be.
        limit: usize,
    },
    /// The ramdisk is broken.
    Ramdisk(RamdiskError),
    /// The hypervisor refused.
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        errno: Errno,
    },
}

impl BuildError {
    /// Makes an error of the hypervisor's refusal of `what`.
    pub(super) fn refused(what: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Refused { what, errno }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(error @ LayoutError::TooSmall { .. }) => {
                write!(
                    f,
                    "not enough memory for this kernel: it {error}; raise `memory`"
                )
            }
            Self::Layout(error) => write!(f, "the kernel can't be placed: {error}"),
            Self::NotEnoughMemory {
                free_kib,
                asked_kib,
            } => write!(
                f,
                "not enough memory: {} MiB asked for, {} MiB free; \
                 lower `memory` or destroy a domain",
                asked_kib.div_ceil(1024),
                free_kib / 1024
            ),
            Self::Dom0Memory => f.write_str("dom0 itself is out of memory; raise dom0_mem"),
            Self::CommandLineTooLong { length, limit } => {
                write!(
                    f,
                    "the command line has {length} bytes, {limit} are the most; shorten it"
                )
            }
            Self::Ramdisk(error) => error.fmt(f),
            Self::Refused { what, errno } => write!(
                f,
                "the hypervisor refused {what}: {}; `xl dmesg` tells why",
                errno.name()
            ),
        }
    }
}

impl core::error::Error for BuildError {}
