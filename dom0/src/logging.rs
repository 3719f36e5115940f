//! dom0's log: lines on the serial console, through the `log` crate.

use core::fmt;

use log::{LevelFilter, Log, Metadata, Record};

/// Prints records to the console.
#[derive(Debug)]
struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            print(format_args!(
                "{}: {}",
                record.level().as_str().to_lowercase(),
                record.args()
            ));
        }
    }

    fn flush(&self) {}
}

fn print(line: fmt::Arguments<'_>) {
    frontends::println!("dom0 {line}");
}

/// Starts the log. `level` is the word of `loglevel=` on the command line;
/// warnings and errors are shown without it.
pub fn start(level: Option<&str>) {
    let level = level
        .and_then(|word| word.parse().ok())
        .unwrap_or(LevelFilter::Warn);
    // Refused only if a log was set before, which then stays.
    let _ = log::set_logger(&ConsoleLog);
    log::set_max_level(level);
}
