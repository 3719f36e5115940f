//! guest-abi against Xen's own headers, as Debian's `libxen-dev` installs them.
//!
//! Every struct's size and offsets, and every number, is read from guest-abi's source and
//! compared with what a C program says that includes the headers. What each thing is called in C
//! stands in [`names`]; something new without a name there fails the second test.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "whatever fails in a test fails the test"
)]

mod headers;
mod names;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use source::Declarations;

/// One figure to compare.
struct Check {
    what: String,
    /// The C expression.
    c: String,
    /// What guest-abi says.
    ours: i64,
}

fn declarations() -> Declarations {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-abi/src");
    source::read(&root)
}

fn table(entries: &'static [(&str, &str)]) -> BTreeMap<&'static str, &'static str> {
    let table: BTreeMap<_, _> = entries.iter().copied().collect();
    assert_eq!(table.len(), entries.len(), "a name is listed twice");
    table
}

#[test]
fn sizes_offsets_and_numbers_are_those_of_the_c_headers() {
    let all = declarations();
    let mut checks = Vec::new();
    struct_checks(&all, &mut checks);
    group_checks(&all, &mut checks);
    constant_checks(&all, &mut checks);
    assert!(
        checks.len() > 1000,
        "only {} figures found: is the source read right?",
        checks.len()
    );

    let expressions: Vec<_> = checks.iter().map(|check| check.c.clone()).collect();
    let wrong: Vec<_> = checks
        .iter()
        .zip(headers::evaluate(&expressions))
        .filter(|(check, theirs)| check.ours != *theirs)
        .map(|(check, theirs)| {
            format!(
                "{}: {} here, {theirs} in C ({})",
                check.what, check.ours, check.c
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_declared_is_compared_or_exempt() {
    let all = declarations();
    let exempt = table(names::EXEMPT);
    let mut missing = Vec::new();
    let mut used = BTreeSet::new();
    let mut seek = |name: &String, listed: &BTreeMap<&'static str, &str>| {
        let found = [listed, &exempt]
            .iter()
            .find_map(|table| table.get_key_value(name.as_str()));
        match found {
            Some((&name, _)) => {
                used.insert(name);
            }
            None => missing.push(name.clone()),
        }
    };
    let (structs, groups, constants) = (
        table(names::STRUCTS),
        table(names::GROUPS),
        table(names::CONSTANTS),
    );
    all.structs.keys().for_each(|name| seek(name, &structs));
    all.groups.keys().for_each(|name| seek(name, &groups));
    all.constants.keys().for_each(|name| seek(name, &constants));
    assert!(
        missing.is_empty(),
        "add to tests/abi/names: {}",
        missing.join(", ")
    );

    let tables = [&structs, &groups, &constants];
    let stale: Vec<_> = tables
        .into_iter()
        .flat_map(BTreeMap::keys)
        .filter(|name| !used.contains(*name))
        .collect();
    assert!(
        stale.is_empty(),
        "in tests/abi/names, but not in guest-abi: {stale:?}"
    );
}

#[test]
fn shared_structs_are_declared_with_their_layout() {
    let all = declarations();
    let bare: Vec<_> = all
        .plain
        .iter()
        .filter(|(_, repr)| *repr)
        .map(|(name, _)| name)
        .collect();
    assert!(bare.is_empty(), "declare with abi!: {bare:?}");
}

fn struct_checks(all: &Declarations, checks: &mut Vec<Check>) {
    let (structs, fields, sizes) = (
        table(names::STRUCTS),
        table(names::FIELDS),
        table(names::SIZES),
    );
    for (name, declared) in &all.structs {
        let Some(c) = structs.get(name.as_str()) else {
            continue;
        };
        let size = sizes
            .get(name.as_str())
            .map_or(format!("sizeof({c})"), |&c| c.to_owned());
        checks.push(Check {
            what: format!("size of {name}"),
            c: size,
            ours: signed(declared.size),
        });
        let ends = declared.fields.iter().skip(1).map(|(_, offset)| *offset);
        for ((field, offset), end) in declared.fields.iter().zip(ends.chain([declared.size])) {
            if field.starts_with("_pad") {
                continue;
            }
            let full = format!("{name}::{field}");
            let c_field = match fields.get(full.as_str()) {
                Some(c_field) => c_field,
                None if field == "kind" => "type",
                None => field,
            };
            checks.push(Check {
                what: format!("offset of {full}"),
                c: format!("offsetof({c}, {c_field})"),
                ours: signed(*offset),
            });
            checks.push(Check {
                what: format!("size of {full}"),
                c: format!("sizeof((({c} *)0)->{c_field})"),
                ours: signed(end - offset),
            });
        }
    }
}

fn group_checks(all: &Declarations, checks: &mut Vec<Check>) {
    let (groups, values, exempt) = (
        table(names::GROUPS),
        table(names::VALUES),
        table(names::EXEMPT),
    );
    for (name, declared) in &all.groups {
        let Some(pattern) = groups.get(name.as_str()) else {
            continue;
        };
        for (value, number) in declared {
            let full = format!("{name}::{value}");
            if exempt.contains_key(full.as_str()) {
                continue;
            }
            let c = values
                .get(full.as_str())
                .map_or_else(|| spell(pattern, value), |&c| c.into());
            checks.push(Check {
                what: full,
                c,
                ours: wrapped(*number),
            });
        }
    }
}

fn constant_checks(all: &Declarations, checks: &mut Vec<Check>) {
    let constants = table(names::CONSTANTS);
    for (name, value) in &all.constants {
        let Some(c) = constants.get(name.as_str()) else {
            continue;
        };
        let value = value.unwrap_or_else(|| panic!("{name}: write its value more plainly"));
        checks.push(Check {
            what: name.clone(),
            c: (*c).to_owned(),
            ours: wrapped(value),
        });
    }
}

fn signed(number: u64) -> i64 {
    number.try_into().unwrap()
}

/// As C prints it when it is cast to `long long`.
fn wrapped(number: i128) -> i64 {
    i64::try_from(number).unwrap_or_else(|_| u64::try_from(number).unwrap().cast_signed())
}

/// Puts a value's name into a group's pattern.
fn spell(pattern: &str, name: &str) -> String {
    let snake = snake(name);
    pattern
        .replace("{snake}", &snake)
        .replace("{UPPER}", &snake.to_uppercase())
        .replace("{Camel}", name)
}

/// `BindVirq` and `BIND_VIRQ` as `bind_virq`.
fn snake(name: &str) -> String {
    if name.chars().all(|letter| !letter.is_lowercase()) {
        return name.to_lowercase();
    }
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
