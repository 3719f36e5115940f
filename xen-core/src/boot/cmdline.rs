//! The core's command line, in Xen's spelling.
//!
//! Words are `name`, `no-name` or `name=value`. A word that means nothing to us is reported and
//! ignored, as Xen does: most of its options concern things that we do not have.

use log::LevelFilter;

/// What the command line can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// dom0's memory in bytes (`dom0_mem=`); 0 takes the default.
    pub dom0_mem: u64,
    /// How many vCPUs dom0 gets (`dom0_max_vcpus=`); 0 for one per CPU.
    pub dom0_max_vcpus: u32,
    /// How many CPUs to use (`maxcpus=`).
    pub max_cpus: u32,
    /// The first serial port's speed (`com1=`).
    pub baud: u32,
    /// Whether the serial port is the console (`console=com1`).
    pub serial_console: bool,
    /// What the core logs (`loglvl=`).
    pub log_level: LevelFilter,
    /// What the core logs on a guest's account (`guest_loglvl=`).
    pub guest_log_level: LevelFilter,
    /// Whether to halt instead of rebooting after a failure (`noreboot`).
    pub no_reboot: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dom0_mem: 0,
            dom0_max_vcpus: 1,
            max_cpus: u32::MAX,
            baud: 115_200,
            serial_console: true,
            log_level: LevelFilter::Info,
            guest_log_level: LevelFilter::Warn,
            no_reboot: false,
        }
    }
}

/// Reads `line` and calls `unknown` for each word that means nothing.
pub fn parse(line: &str, mut unknown: impl FnMut(&str)) -> Options {
    let mut options = Options::default();
    for word in line.split_ascii_whitespace() {
        if options.apply(word).is_none() {
            unknown(word);
        }
    }
    options
}

impl Options {
    fn apply(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "dom0_mem" => self.dom0_mem = dom0_mem(value)?,
            "dom0_max_vcpus" => {
                self.dom0_max_vcpus = value.split('-').next_back()?.parse().ok()?;
            }
            "maxcpus" => self.max_cpus = value.parse::<u32>().ok()?.max(1),
            "com1" => self.baud = baud(value)?,
            "console" => self.serial_console = value.split(',').any(|port| port == "com1"),
            "loglvl" => self.log_level = level(value)?,
            "guest_loglvl" => self.guest_log_level = level(value)?,
            "noreboot" => self.no_reboot = boolean(value)?,
            "no-noreboot" => self.no_reboot = false,
            // There is one scheduler; asking for another one of Xen's is no mistake.
            "sched" if matches!(value, "fair" | "credit" | "credit2" | "null" | "rtds") => {}
            _ => return None,
        }
        Some(())
    }
}

/// `<size>`, or `min:…,max:<size>`: the last plain or `max:` part counts.
fn dom0_mem(value: &str) -> Option<u64> {
    let mut result = None;
    for part in value.split(',') {
        if let Some(minimum) = part.strip_prefix("min:") {
            size(minimum)?;
        } else {
            result = Some(size(part.strip_prefix("max:").unwrap_or(part))?);
        }
    }
    result
}

/// A number with a unit letter; without one it counts kilobytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "b" | "B" => 0,
        "" | "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The speed in `115200,8n1`; the frame is always 8n1. `auto` keeps the default.
fn baud(value: &str) -> Option<u32> {
    match value.split(',').next()? {
        "auto" => Some(Options::default().baud),
        speed => speed
            .parse()
            .ok()
            .filter(|baud| (50..=115_200).contains(baud)),
    }
}

/// `<level>` or `<always>/<rate-limited>`; the second part is the one up to which lines appear.
fn level(value: &str) -> Option<LevelFilter> {
    match value.split('/').next_back()? {
        "none" => Some(LevelFilter::Off),
        "error" => Some(LevelFilter::Error),
        "warning" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        "all" => Some(LevelFilter::Trace),
        _ => None,
    }
}

fn boolean(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "on" | "yes" | "true" | "enable" => Some(true),
        "0" | "off" | "no" | "false" | "disable" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Options, parse};
    use log::LevelFilter;

    fn read(line: &str) -> (Options, Vec<String>) {
        let mut unknown = Vec::new();
        let options = parse(line, |word| unknown.push(word.to_owned()));
        (options, unknown)
    }

    #[test]
    fn xens_usual_line_is_understood() {
        let line = "dom0_mem=512M,max:1G com1=9600,8n1 console=com1,vga loglvl=all \
                    guest_loglvl=error/info noreboot sched=credit maxcpus=2 dom0_max_vcpus=1-4";
        let (options, unknown) = read(line);
        assert_eq!(unknown, [""; 0]);
        assert_eq!(options.dom0_mem, 1 << 30);
        assert_eq!(options.baud, 9600);
        assert!(options.serial_console && options.no_reboot);
        assert_eq!(options.log_level, LevelFilter::Trace);
        assert_eq!(options.guest_log_level, LevelFilter::Info);
        assert_eq!((options.max_cpus, options.dom0_max_vcpus), (2, 4));
    }

    #[test]
    fn what_means_nothing_is_reported_and_changes_nothing() {
        let (options, unknown) = read("iommu=off dom0_mem=12Q loglvl=loud com1=1");
        assert_eq!(
            unknown,
            ["iommu=off", "dom0_mem=12Q", "loglvl=loud", "com1=1"]
        );
        assert_eq!(options, Options::default());
    }

    #[test]
    fn a_size_without_a_unit_counts_kilobytes() {
        assert_eq!(read("dom0_mem=2048").0.dom0_mem, 2 << 20);
        assert_eq!(read("dom0_mem=min:1G,max:2048b").0.dom0_mem, 2048);
        assert_eq!(read("dom0_mem=99999999999T").1.len(), 1);
    }
}
