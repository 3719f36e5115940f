//! How domains are shown: states and times, as `xl` prints them.

use alloc::format;
use alloc::string::String;

use guest_abi::domctl::{DomainInfo, DomainInfoFlags};
use guest_abi::sched::ShutdownReason;

use crate::toolstack::shutdown_reason;

/// Six letters: running, blocked, paused, shut down, crashed, dying.
pub(super) fn state(info: &DomainInfo) -> String {
    let flags = info.info_flags();
    let crashed = shutdown_reason(info) == Some(ShutdownReason::Crash);
    let letters = [
        (flags.contains(DomainInfoFlags::RUNNING), 'r'),
        (flags.contains(DomainInfoFlags::BLOCKED), 'b'),
        (flags.contains(DomainInfoFlags::PAUSED), 'p'),
        (flags.contains(DomainInfoFlags::SHUTDOWN), 's'),
        (crashed, 'c'),
        (flags.contains(DomainInfoFlags::DYING), 'd'),
    ];
    letters
        .iter()
        .map(|&(is, letter)| if is { letter } else { '-' })
        .collect()
}

/// Pages as MiB.
pub(super) fn mib(pages: u64) -> u64 {
    pages / 256
}

/// Nanoseconds as seconds with one digit behind the point.
pub(super) fn seconds(nanos: u64) -> String {
    let tenths = nanos / 100_000_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A time of running: days, hours, minutes, seconds.
pub(super) fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day,  {clock}"),
        days => format!("{days} days,  {clock}"),
    }
}
