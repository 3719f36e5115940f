//! The console: a ring with dom0 in an ordinary domain, the hypervisor's
//! emergency console in dom0.
//!
//! Writing waits until the ring has room, so nothing is lost. The other end
//! keeps what was written when the domain ends, so a kernel may print and die.

use core::{fmt, mem::offset_of};

use guest_abi::{
    Port,
    io::console::{ConsoleRing, IN_SIZE, OUT_SIZE},
};
use spin::Mutex;

use crate::{
    arch::{bytes::SharedBytes, hypercall},
    byte_ring::ByteRing,
    events, sched,
};

static CONSOLE: Mutex<Option<Ring>> = Mutex::new(None);

/// The ring of an ordinary domain.
struct Ring {
    page: SharedBytes,
    port: Port,
}

/// Finds the ring, if the domain has one.
#[cfg(target_os = "none")]
pub(crate) fn init(info: &guest_abi::start_info::StartInfo) {
    use guest_abi::start_info::StartFlags;

    let port = info.console_evtchn;
    if info.flags().contains(StartFlags::INITDOMAIN) || port.get() == 0 {
        return;
    }
    let page = crate::arch::memory::ring_page(info.console_mfn);
    *CONSOLE.lock() = Some(Ring { page, port });
}

/// From this domain.
const OUT: ByteRing = ByteRing {
    buffer: offset_of!(ConsoleRing, output),
    size: OUT_SIZE,
    produced: offset_of!(ConsoleRing, out_prod),
    consumed: offset_of!(ConsoleRing, out_cons),
};

/// Towards this domain.
const IN: ByteRing = ByteRing {
    buffer: offset_of!(ConsoleRing, input),
    size: IN_SIZE,
    produced: offset_of!(ConsoleRing, in_prod),
    consumed: offset_of!(ConsoleRing, in_cons),
};

impl Ring {
    fn notify(&self) {
        // The other end may not have bound the port yet; it looks when it does.
        let _ = events::send(self.port);
    }
}

/// Prints, waiting for room as long as it takes.
pub fn write(mut text: &[u8]) {
    let console = CONSOLE.lock();
    let Some(ring) = console.as_ref() else {
        return hypercall::console_write(text);
    };
    while !text.is_empty() {
        let count = OUT.put(&ring.page, text);
        text = &text[count..];
        ring.notify();
        if !text.is_empty() {
            sched::yield_now();
        }
    }
}

/// Takes what was typed; answers how many bytes.
pub fn read(into: &mut [u8]) -> usize {
    let console = CONSOLE.lock();
    let Some(ring) = console.as_ref() else {
        return hypercall::console_read(into);
    };
    let count = IN.get(&ring.page, into);
    if count > 0 {
        ring.notify();
    }
    count
}

/// A console to format to.
#[derive(Clone, Copy, Debug)]
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Prints even if the panic came while the console was locked.
#[cfg(target_os = "none")]
pub(crate) fn emergency(text: fmt::Arguments<'_>) {
    if CONSOLE.is_locked() {
        struct Raw;
        impl fmt::Write for Raw {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                hypercall::console_write(text.as_bytes());
                Ok(())
            }
        }
        let _ = fmt::write(&mut Raw, text);
    } else {
        let _ = fmt::write(&mut Console, text);
    }
}

/// Prints a line to the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        // The console takes everything.
        let _ = ::core::fmt::Write::write_fmt(
            &mut $crate::console::Console,
            ::core::format_args!("{}\n", ::core::format_args!($($arg)*)),
        );
    }};
}
