//! The console: a ring with dom0 in an ordinary domain, the hypervisor's
//! emergency console in dom0.
//!
//! Writing waits until the ring has room, so nothing is lost. The other end
//! keeps what was written when the domain ends, so a kernel may print and die.

use core::{
    fmt,
    mem::offset_of,
    sync::atomic::{Ordering, fence},
};

use guest_abi::{
    Port,
    io::console::{ConsoleRing, IN_SIZE, OUT_SIZE},
};
use spin::Mutex;

use crate::{
    arch::{bytes::SharedBytes, hypercall},
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

impl Ring {
    /// Puts in what there is room for; answers how much.
    fn put(&self, text: &[u8]) -> usize {
        let produced = self.page.u32(offset_of!(ConsoleRing, out_prod));
        let index = produced.load(Ordering::Relaxed);
        let consumed = self
            .page
            .u32(offset_of!(ConsoleRing, out_cons))
            .load(Ordering::Acquire);
        let used = (index.wrapping_sub(consumed) as usize).min(OUT_SIZE);
        let count = text.len().min(OUT_SIZE - used);
        let start = index as usize % OUT_SIZE;
        let (first, second) = text[..count].split_at(count.min(OUT_SIZE - start));
        let base = offset_of!(ConsoleRing, output);
        self.page.write(base + start, first);
        self.page.write(base, second);
        produced.store(advance(index, count), Ordering::Release);
        fence(Ordering::SeqCst);
        count
    }

    /// Takes what has arrived, up to the buffer's length.
    fn get(&self, into: &mut [u8]) -> usize {
        let consumed = self.page.u32(offset_of!(ConsoleRing, in_cons));
        let index = consumed.load(Ordering::Relaxed);
        let produced = self
            .page
            .u32(offset_of!(ConsoleRing, in_prod))
            .load(Ordering::Acquire);
        let waiting = (produced.wrapping_sub(index) as usize).min(IN_SIZE);
        let count = into.len().min(waiting);
        let start = index as usize % IN_SIZE;
        let (first, second) = into[..count].split_at_mut(count.min(IN_SIZE - start));
        let base = offset_of!(ConsoleRing, input);
        self.page.read(base + start, first);
        self.page.read(base, second);
        consumed.store(advance(index, count), Ordering::Release);
        fence(Ordering::SeqCst);
        count
    }

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
        let count = ring.put(text);
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
    let count = ring.get(into);
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
/// A free-running index, moved on.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a count is at most the ring's size"
)]
fn advance(index: u32, count: usize) -> u32 {
    index.wrapping_add(count as u32)
}
