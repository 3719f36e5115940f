//! `xl vol`: pools and their volumes.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Outcome, Verb, failure};
use crate::config::nearest;
use crate::storage::{PoolInfo, VolumeInfo};

pub(super) const VERB: Verb = Verb {
    name: "vol",
    usage: "list | init POOL DEVICE | create POOL/NAME [SIZE] [--base DISK] | remove POOL/NAME | \
            snapshot POOL/NAME NEW | resize POOL/NAME SIZE",
    summary: "Manage volumes: disks of guests that take room only for what is written to them",
    options: &[
        (
            "--base",
            "The volume begins as a copy of this disk, partition, image file or snapshot",
        ),
        (
            "--force",
            "Make a pool even where something else seems to be",
        ),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

/// What there is behind `vol`.
const WORDS: [&str; 6] = ["list", "init", "create", "remove", "snapshot", "resize"];

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let (base, words) = take_base(words);
    let args = Args::parse(&VERB, words)?;
    let words: Vec<&str> = args.words.iter().map(String::as_str).collect();
    let storage = context.toolstack.storage();
    let done = match words.as_slice() {
        [] | ["list"] => return list(&context).await,
        ["init", pool, device] => storage.create_pool(pool, device, args.has("--force")).await,
        ["create", name] => storage.create_volume(name, None, base.as_deref()).await,
        ["create", name, size] => {
            let size = Some(bytes(size)?);
            storage.create_volume(name, size, base.as_deref()).await
        }
        ["remove", name] => storage.remove_volume(name).await,
        ["snapshot", name, new] => storage.snapshot_volume(name, new_name(name, new)).await,
        ["resize", name, size] => storage.resize_volume(name, bytes(size)?).await,
        [word, rest @ ..] if WORDS.contains(word) => return Err(wants(&VERB, rest.len().max(2))),
        [word, ..] => {
            let hint = match nearest(word, WORDS) {
                Some(meant) => format!("did you mean `vol {meant}`?"),
                None => format!("there are {}", WORDS.join(", ")),
            };
            return Err(failure(format!("vol: there is no `{word}`; {hint}")));
        }
    };
    done.map_err(failure)
}

/// Takes `--base DISK` or `--base=DISK` out of the words.
fn take_base(words: Vec<String>) -> (Option<String>, Vec<String>) {
    let mut base = None;
    let mut rest = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.strip_prefix("--base") {
            Some("") => base = words.next(),
            Some(value) if value.starts_with('=') => base = value.get(1..).map(ToString::to_string),
            _ => rest.push(word),
        }
    }
    (base, rest)
}

/// The name of a snapshot, with its pool in front or without.
fn new_name<'a>(volume: &str, new: &'a str) -> &'a str {
    let pool = volume.strip_prefix("/dev/").unwrap_or(volume);
    let pool = pool.split('/').next().unwrap_or_default();
    let name = new.strip_prefix("/dev/").unwrap_or(new);
    let name = name.strip_prefix(pool);
    name.and_then(|name| name.strip_prefix('/')).unwrap_or(new)
}

/// A size in bytes. A number without a unit counts MiB.
fn bytes(text: &str) -> Result<u64, super::Failure> {
    let amount = super::mem_set::kib(text).and_then(|kib| kib.checked_mul(1024));
    amount.ok_or_else(|| {
        failure(format!(
            "`{text}` is no size; write MiB, or a number with k, m, g or t"
        ))
    })
}

async fn list(context: &Context) -> Outcome {
    let storage = context.toolstack.storage();
    // Right after the host's start, the disks may not all have been looked at.
    storage.start().await;
    let pools = storage.pools();
    if pools.is_empty() {
        let hint = "there is no pool; `vol init POOL DEVICE` makes one";
        return Ok(context.note(hint).await?);
    }
    let mut text = row("Name", "Size", "Used", "Kind", "Base");
    for pool in &pools {
        text.push_str(&pool_row(pool));
        pool.volumes
            .iter()
            .for_each(|volume| text.push_str(&volume_row(volume)));
    }
    Ok(context.stdio.out(text).await?)
}

fn pool_row(pool: &PoolInfo) -> String {
    let used = human(pool.size.saturating_sub(pool.free));
    row(&pool.name, &human(pool.size), &used, "pool", "")
}

fn volume_row(volume: &VolumeInfo) -> String {
    let kind = if volume.frozen { "snapshot" } else { "volume" };
    row(
        &format!("{}/{}", volume.pool, volume.name),
        &human(volume.sectors.saturating_mul(512)),
        &human(volume.allocated),
        kind,
        volume.base.as_deref().unwrap_or("-"),
    )
}

fn row(name: &str, size: &str, used: &str, kind: &str, base: &str) -> String {
    let row = format!("{name:<32} {size:>9} {used:>9} {kind:<8} {base}");
    format!("{}\n", row.trim_end())
}

/// Bytes in the largest unit of which there are at least one, with one digit behind the point.
fn human(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M')];
    let unit = units.iter().find(|&&(shift, _)| bytes >> shift > 0);
    match unit {
        Some(&(shift, unit)) => {
            let tenths = (bytes >> (shift - 10)).saturating_mul(10) >> 10;
            format!("{}.{}{unit}", tenths / 10, tenths % 10)
        }
        None => format!("{}K", bytes.div_ceil(1024)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0K"),
            (65536, "64K"),
            (3 << 19, "1.5M"),
            (10 << 30, "10.0G"),
            (u64::MAX, "16777215.9T"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_base_may_stand_anywhere() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let (base, rest) = take_base(words("create p/v --base /dev/vda 1G"));
        assert_eq!(base.as_deref(), Some("/dev/vda"));
        assert_eq!(rest, words("create p/v 1G"));
        let (base, _) = take_base(words("--base=x"));
        assert_eq!(base.as_deref(), Some("x"));
    }

    #[test]
    fn a_snapshot_may_be_named_with_its_pool() {
        assert_eq!(new_name("p/v", "p/s"), "s");
        assert_eq!(new_name("/dev/p/v", "/dev/p/s"), "s");
        assert_eq!(new_name("p/v", "s"), "s");
    }
}
