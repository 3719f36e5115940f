//! What the core says when it dies.
//!
//! The first CPU that fails reports, the others are stopped. Nothing here allocates, and no lock
//! is waited for.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use super::log::write_emergency;
use super::symbols::Symbols;
use crate::arch;

/// An address of the image, shown with the function it lies in.
#[derive(Clone, Copy, Debug)]
pub struct CodeAddress(pub u64);

impl fmt::Display for CodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)?;
        let offset = self.0.wrapping_sub(arch::image::start());
        let found = u32::try_from(offset).ok().and_then(|offset| {
            let symbols = Symbols::new(arch::image::symbols()?)?;
            symbols.find(offset)
        });
        match found {
            Some((name, distance)) => write!(f, " {name}+{distance:#x}"),
            None => Ok(()),
        }
    }
}

static FAILED: AtomicBool = AtomicBool::new(false);

/// Reports `what` went wrong, lets `details` say more, shows the calls that led there (from the
/// frame pointer `frame` on) and stops the machine.
pub fn die(what: fmt::Arguments<'_>, details: impl FnOnce(), frame: u64) -> ! {
    if FAILED.swap(true, Ordering::SeqCst) {
        arch::power::halt();
    }
    arch::power::stop_others();
    say(format_args!("\n*** Radon has failed: {what}"));
    details();
    if let Some(vcpu) = arch::context::loaded_for_report() {
        say(format_args!("{vcpu} was loaded"));
    }
    say(format_args!("calls:"));
    for address in arch::backtrace::callers(frame).take(32) {
        say(format_args!("  {}", CodeAddress(address)));
    }
    say(format_args!("*** The machine is halted."));
    arch::power::halt()
}

/// One line of a report.
pub fn say(text: fmt::Arguments<'_>) {
    write_emergency(format_args!("(RADON) {text}\n"));
}

/// What a panic of the core does.
pub fn on_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    die(format_args!("{info}"), || (), arch::backtrace::frame())
}
