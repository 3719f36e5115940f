//! Every key there is, and the nearest one to a key that isn't.

use alloc::vec::Vec;

/// Keys that count.
pub(super) const USED: [&str; 15] = [
    "name",
    "kernel",
    "ramdisk",
    "extra",
    "cmdline",
    "root",
    "memory",
    "maxmem",
    "vcpus",
    "disk",
    "vif",
    "uuid",
    "on_poweroff",
    "on_reboot",
    "on_crash",
];

/// Keys that other hosts know and that change nothing here, with the reason.
pub(super) const IGNORED: [(&str, &str); 36] = [
    ("type", "every domain is a PV guest"),
    ("builder", "every domain is a PV guest"),
    ("maxvcpus", "vCPUs are set by `vcpus`"),
    ("cpus", "pinning is not supported yet"),
    ("cpus_soft", "pinning is not supported yet"),
    ("cpu_weight", "weights are not supported yet"),
    ("cap", "caps are not supported yet"),
    ("pool", "there is one pool"),
    ("vtpm", "there is no such device"),
    ("p9", "there is no such device"),
    ("pci", "there is no such device"),
    ("vfb", "there is no such device"),
    ("vkb", "there is no such device"),
    ("usbctrl", "there is no such device"),
    ("usbdev", "there is no such device"),
    ("channel", "there is no such device"),
    ("vdispl", "there is no such device"),
    ("vsnd", "there is no such device"),
    ("serial", "the console is `xl console`"),
    ("vnc", "there is no screen"),
    ("sdl", "there is no screen"),
    ("spice", "there is no screen"),
    ("bootloader", "the kernel is given by `kernel`"),
    ("bootloader_args", "the kernel is given by `kernel`"),
    ("boot", "the kernel is given by `kernel`"),
    ("features", "there is nothing to choose"),
    ("tsc_mode", "the time-stamp counter is always native"),
    ("localtime", "the clock is UTC"),
    ("rtc_timeoffset", "the clock is UTC"),
    ("seclabel", "there are no labels"),
    ("driver_domain", "dom0 has the drivers"),
    ("claim_mode", "memory is always reserved at once"),
    ("on_watchdog", "there is no watchdog"),
    ("on_soft_reset", "there is no soft reset"),
    ("max_grant_frames", "the limit is fixed"),
    ("max_maptrack_frames", "the limit is fixed"),
];

/// The nearest of `known` to `word`, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = word.chars().count().div_ceil(3);
    // A single letter is near to everything.
    let near = if word.chars().count() == 1 { 0 } else { near };
    let distances = known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate));
    let best = distances.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= near).then_some(best.1)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let width = to.len() + 1;
    let mut rows: Vec<Vec<usize>> = Vec::from([(0..width).collect()]);
    for (i, &a) in from.iter().enumerate() {
        let mut row = Vec::from([i + 1]);
        for (j, &b) in to.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let above = rows.last().map_or(&[][..], Vec::as_slice);
            let mut best = at(above, j) + usize::from(a != b);
            best = best.min(at(above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped =
                i > 0 && j > 0 && from.get(i - 1) == Some(&b) && to.get(j - 1) == Some(&a);
            if let (true, Some(before)) = (swapped, rows.get(i.wrapping_sub(1))) {
                best = best.min(at(before, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last()
        .and_then(|row| row.last())
        .copied()
        .unwrap_or(usize::MAX)
}
