//! `xl mem-set`, and what `xl mem-max` shares with it.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::args::{Args, wants};
use super::{Context, Failure, Outcome, Verb, failure};
use crate::toolstack::Guest;

pub(super) const VERB: Verb = Verb {
    name: "mem-set",
    usage: "DOMAIN MEM[b|k|m|g|t]",
    summary: "Ask a domain to hold so much memory; MiB, unless there is a unit",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let (guest, kib) = wanted(&context, &VERB, words)?;
    let set = context.toolstack.set_memory(&guest, kib);
    set.map_err(|error| failure(format!("domain {}: {error}", guest.name())))
}

/// The domain and the KiB that a verb was given.
pub(super) fn wanted(
    context: &Context,
    verb: &Verb,
    words: Vec<String>,
) -> Result<(Rc<Guest>, u64), Failure> {
    let args = Args::parse(verb, words)?;
    let [domain, memory] = args.words.as_slice() else {
        return Err(wants(verb, 2));
    };
    if context.find(domain)? == guest_abi::DomId::DOM0 {
        return Err(failure(
            "dom0's memory is fixed; set it by `dom0_mem=` on the core's command line",
        ));
    }
    let guest = context.guest(domain, verb.name)?;
    let kib = kib(memory).ok_or_else(|| {
        failure(format!(
            "`{memory}` is no amount of memory; write MiB, or a number with k, m or g"
        ))
    })?;
    Ok((guest, kib))
}

/// An amount in KiB. A number without a unit counts MiB.
pub(super) fn kib(text: &str) -> Option<u64> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end)?;
    let number: u64 = digits.parse().ok()?;
    let factor = match unit.as_bytes() {
        [b'b' | b'B'] => return Some(number / 1024),
        [b'k' | b'K'] => 1,
        [] | [b'm' | b'M'] => 1 << 10,
        [b'g' | b'G'] => 1 << 20,
        [b't' | b'T'] => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::kib;

    #[test]
    fn memory_counts_mib_unless_it_says_otherwise() {
        for (text, amount) in [
            ("256", Some(256 << 10)),
            ("256m", Some(256 << 10)),
            ("1G", Some(1 << 20)),
            ("2t", Some(2 << 30)),
            ("4096k", Some(4096)),
            ("8192b", Some(8)),
            ("", None),
            ("m", None),
            ("12q", None),
            ("12mb", None),
            ("-1", None),
            ("99999999999999999t", None),
        ] {
            assert_eq!(kib(text), amount, "{text}");
        }
    }
}
