//! The kernel: starts the services, then runs them for ever.

use dom0::{executor::Runtime, logging, machine::Machine, serial::Serial};
use frontends::{guest_abi::sched::ShutdownReason, println, sched, start::StartOfDay};

/// Starts dom0.
pub(crate) fn main(start: &'static StartOfDay) -> ! {
    logging::start(start.argument("loglevel"));
    let Ok(machine) = Machine::new() else {
        fail("no timer")
    };
    let runtime = Runtime::new(machine);
    let Ok(serial) = Serial::open(&runtime) else {
        fail("no console")
    };
    runtime.block_on(serve(serial))
}

/// Serves until the host is shut down.
async fn serve(serial: Serial) -> ! {
    loop {
        let typed = serial.read().await;
        serial.write(&typed);
    }
}

/// Ends the host: without this nothing can run.
fn fail(what: &str) -> ! {
    println!("dom0 cannot start: {what}");
    sched::shutdown(ShutdownReason::Crash)
}
