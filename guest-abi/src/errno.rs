//! Why a hypercall was refused: Xen's error numbers, which are Linux's.
//!
//! On the wire they travel negated in the result register: see [`Errno::to_result_register`] and
//! [`Errno::from_result_register`].

macro_rules! errno {
    ($($(#[$meta:meta])* $name:ident = $value:literal,)*) => {
        wire_enum! {
            /// A refusal.
            pub enum Errno: u16 {
                $($(#[$meta])* $name = $value,)*
            }
        }

        impl Errno {
            /// The name in capitals, as xenstore sends it and people search for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

errno! {
    /// Operation not permitted.
    EPERM = 1,
    /// No such entry.
    ENOENT = 2,
    /// No such domain.
    ESRCH = 3,
    /// Interrupted.
    EINTR = 4,
    /// Input or output failed.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Too much data for one call.
    E2BIG = 7,
    /// Not an executable.
    ENOEXEC = 8,
    /// Bad descriptor.
    EBADF = 9,
    /// No child.
    ECHILD = 10,
    /// Try again.
    EAGAIN = 11,
    /// Out of memory.
    ENOMEM = 12,
    /// Access denied; also: interface version mismatch.
    EACCES = 13,
    /// A pointer leads nowhere.
    EFAULT = 14,
    /// In use.
    EBUSY = 16,
    /// Exists already.
    EEXIST = 17,
    /// Crosses a boundary.
    EXDEV = 18,
    /// No such device.
    ENODEV = 19,
    /// Not a directory.
    ENOTDIR = 20,
    /// Is a directory.
    EISDIR = 21,
    /// An argument makes no sense.
    EINVAL = 22,
    /// Table full.
    ENFILE = 23,
    /// Too many open.
    EMFILE = 24,
    /// No space left.
    ENOSPC = 28,
    /// Read only.
    EROFS = 30,
    /// Too many links.
    EMLINK = 31,
    /// Outside the function's domain.
    EDOM = 33,
    /// Result out of range.
    ERANGE = 34,
    /// Would deadlock.
    EDEADLK = 35,
    /// Name too long.
    ENAMETOOLONG = 36,
    /// No locks left.
    ENOLCK = 37,
    /// Not implemented.
    ENOSYS = 38,
    /// Not empty.
    ENOTEMPTY = 39,
    /// No data.
    ENODATA = 61,
    /// Timer expired.
    ETIME = 62,
    /// Bad message.
    EBADMSG = 74,
    /// Value too large.
    EOVERFLOW = 75,
    /// Illegal byte sequence.
    EILSEQ = 84,
    /// To be restarted: inside the hypervisor only, a guest never sees it.
    ERESTART = 85,
    /// Not a socket.
    ENOTSOCK = 88,
    /// Message too long.
    EMSGSIZE = 90,
    /// Not supported.
    EOPNOTSUPP = 95,
    /// Address in use.
    EADDRINUSE = 98,
    /// Address not available.
    EADDRNOTAVAIL = 99,
    /// No buffers.
    ENOBUFS = 105,
    /// Connected already.
    EISCONN = 106,
    /// Not connected.
    ENOTCONN = 107,
    /// Timed out.
    ETIMEDOUT = 110,
    /// Connection refused.
    ECONNREFUSED = 111,
}

impl Errno {
    /// The value the result register carries for this refusal.
    pub const fn to_result_register(self) -> i64 {
        -(self.number() as i64)
    }

    /// What a hypercall's result register means: a value, or a refusal.
    ///
    /// A negative number outside the table becomes `EINVAL`, as guests take it.
    pub const fn from_result_register(register: i64) -> Result<u64, Self> {
        if register >= 0 {
            return Ok(register.unsigned_abs());
        }
        let number = register.unsigned_abs();
        if number > 0xfff {
            return Err(Self::EINVAL);
        }
        match Self::from_register(number) {
            Some(errno) => Err(errno),
            None => Err(Self::EINVAL),
        }
    }

    /// The refusal with this name, as xenstore spells it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|errno| errno.name() == name)
    }
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_survives_the_result_register() {
        for &errno in Errno::ALL {
            let register = errno.to_result_register();
            assert_eq!(Errno::from_result_register(register), Err(errno));
            assert_eq!(Errno::from_name(errno.name()), Some(errno));
        }
    }

    #[test]
    fn results_that_are_not_negative_are_values() {
        assert_eq!(Errno::from_result_register(0), Ok(0));
        assert_eq!(Errno::from_result_register(i64::MAX), Ok(i64::MAX as u64));
    }

    #[test]
    fn unknown_refusals_read_as_invalid_argument() {
        assert_eq!(Errno::from_result_register(-4000), Err(Errno::EINVAL));
        assert_eq!(Errno::from_result_register(i64::MIN), Err(Errno::EINVAL));
    }
}
