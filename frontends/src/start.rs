//! What a kernel is told at its start.

use alloc::{string::String, vec::Vec};

use guest_abi::{
    Mfn, Port,
    start_info::{StartFlags, StartInfo},
};

/// What the builder put into the start-info page, as far as a kernel cares.
#[derive(Clone, Debug)]
pub struct StartOfDay {
    command_line: String,
    nr_pages: u64,
    flags: StartFlags,
    store: Option<(Mfn, Port)>,
    console: Option<(Mfn, Port)>,
}

impl StartOfDay {
    /// Copies what matters out of the start-info page.
    pub(crate) fn new(info: &StartInfo) -> Self {
        let ring = |frame, port: Port| (port.get() != 0).then_some((frame, port));
        let in_dom0 = info.flags().contains(StartFlags::INITDOMAIN);
        Self {
            command_line: String::from_utf8_lossy(info.cmd_line()).into_owned(),
            nr_pages: info.nr_pages,
            flags: info.flags(),
            store: ring(info.store_mfn, info.store_evtchn),
            // In dom0 the words mean a video console.
            console: if in_dom0 {
                None
            } else {
                ring(info.console_mfn, info.console_evtchn)
            },
        }
    }

    /// The kernel's command line.
    #[must_use]
    pub fn command_line(&self) -> &str {
        &self.command_line
    }

    /// The words of the command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<&str> {
        self.command_line.split_whitespace().collect()
    }

    /// The value of `name=value` on the command line; the last one counts.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        let value = |word: &'_ str| word.strip_prefix(name)?.strip_prefix('=').map(str::len);
        self.command_line
            .split_whitespace()
            .filter_map(|word| value(word).map(|len| &word[word.len() - len..]))
            .next_back()
    }

    /// Pages the domain was given.
    #[must_use]
    pub fn nr_pages(&self) -> u64 {
        self.nr_pages
    }

    /// Whether this is the first, privileged domain.
    #[must_use]
    pub fn is_dom0(&self) -> bool {
        self.flags.contains(StartFlags::INITDOMAIN)
    }

    /// The xenstore ring's frame and port, unless xenstore runs in this domain.
    #[must_use]
    pub fn store(&self) -> Option<(Mfn, Port)> {
        self.store
    }

    /// The console ring's frame and port, if there is one.
    #[must_use]
    pub fn console(&self) -> Option<(Mfn, Port)> {
        self.console
    }
}

/// Names the kernel's main function: `fn(&'static StartOfDay) -> !`.
///
/// ```text
/// frontends::entry!(main);
///
/// fn main(start: &'static frontends::start::StartOfDay) -> ! { loop {} }
/// ```
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(target_os = "none")]
        #[unsafe(no_mangle)]
        #[allow(unsafe_code, reason = "the one name start of day looks for")]
        extern "Rust" fn guest_main(start: &'static $crate::start::StartOfDay) -> ! {
            $main(start)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(line: &str) -> StartOfDay {
        let mut info = StartInfo::new();
        info.set_cmd_line(line.as_bytes());
        StartOfDay::new(&info)
    }

    #[test]
    fn the_last_value_of_an_argument_counts() {
        let start = with("mode=fault quiet mode=oops");
        assert_eq!(start.argument("mode"), Some("oops"));
        assert_eq!(start.argument("mo"), None);
        assert_eq!(start.argument("quiet"), None);
    }
}
