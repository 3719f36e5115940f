//! How often a test does what it does again and again.

/// The number in the environment variable `RADON_<NAME>`, or `short` without it: the long form of
/// a test is run on demand, the short one every time.
///
/// # Panics
/// When the variable holds something else.
#[must_use]
pub fn rounds(name: &str, short: u32) -> u32 {
    let variable = format!("RADON_{name}");
    std::env::var(&variable).map_or(short, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number"))
    })
}
