//! What something costs, in executed instructions.
//!
//! Under `--icount` a nanosecond is an instruction, and a domain's CPU time is what was executed in
//! it and in the core on its behalf. A load runs twice, small and large: what it costs to begin and
//! to end, and to look at the clocks, is the same in both and goes with the difference.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::client::Session;
use crate::machine::HostDir;

/// CPU time of all domains, up to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// By name.
    domains: Vec<(String, u64)>,
}

impl Reading {
    pub(super) fn take(host: &HostDir) -> Result<Self> {
        Self::parse(&Session::run_well(host, &["list", "--json"])?)
    }

    fn parse(text: &str) -> Result<Self> {
        let list: Value = serde_json::from_str(text).context("xl list --json is no JSON")?;
        let domains = list.as_array().into_iter().flatten().map(|domain| {
            let name = domain["name"].as_str()?.to_owned();
            Some((name, domain["cpu_time_ns"].as_u64()?))
        });
        let domains = domains.collect::<Option<_>>();
        Ok(Self {
            domains: domains.context("xl list --json tells no CPU time")?,
        })
    }

    fn of(&self, name: &str) -> u64 {
        let own = self.domains.iter().find(|(domain, _)| domain == name);
        own.map_or(0, |(_, time)| *time)
    }
}

/// Runs a load of a size: first to warm up, then small, then large.
///
/// Returns what one unit costs.
pub(super) fn measure(
    host: &HostDir,
    [small, large]: [u64; 2],
    mut run: impl FnMut(u64) -> Result<()>,
) -> Result<Cost> {
    run(small)?;
    let start = Reading::take(host)?;
    run(small)?;
    let middle = Reading::take(host)?;
    run(large)?;
    let readings = [start, middle, Reading::take(host)?];
    Ok(Cost::between(&readings, large - small))
}

/// What one unit of a load costs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    /// By domain, dom0 first.
    domains: Vec<(String, f64)>,
}

impl Cost {
    /// From three readings, with a small and a large load between them, which differ by `units`.
    pub(super) fn between(readings: &[Reading; 3], units: u64) -> Self {
        let [start, middle, end] = readings;
        let cost = |(name, after): &(String, u64)| {
            let (before, middle) = (start.of(name), middle.of(name));
            let (small, large) = (float(middle - before), float(after - middle));
            (name.clone(), (large - small) / float(units))
        };
        Self {
            domains: end.domains.iter().map(cost).collect(),
        }
    }

    /// Of one domain.
    pub(super) fn of(&self, name: &str) -> f64 {
        let own = self.domains.iter().find(|(domain, _)| domain == name);
        own.map_or(0.0, |(_, cost)| *cost)
    }

    /// Of all of them.
    pub(super) fn total(&self) -> f64 {
        self.domains.iter().map(|(_, cost)| cost).sum()
    }
}

/// Such counts lie far below where a double is no longer exact.
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(dom0: u64, guest: u64) -> Reading {
        let text = format!(
            r#"[{{"name": "Domain-0", "cpu_time_ns": {dom0}}},
                {{"name": "guest", "cpu_time_ns": {guest}}}]"#
        );
        Reading::parse(&text).unwrap()
    }

    #[test]
    fn what_both_loads_have_in_common_does_not_count() {
        // 1000 and 500 to begin with, then 10 operations of 7 and 3 instructions, then 110.
        let readings = [
            reading(40, 60),
            reading(40 + 1000 + 70, 60 + 500 + 30),
            reading(40 + 2000 + 840, 60 + 1000 + 360),
        ];
        let cost = Cost::between(&readings, 100);
        assert_eq!((cost.of("Domain-0"), cost.of("guest")), (7.0, 3.0));
        assert_eq!(cost.total(), 10.0);
    }

    #[test]
    fn a_list_without_times_is_refused() {
        assert!(Reading::parse("nonsense").is_err());
        assert!(Reading::parse(r#"[{"name": "x"}]"#).is_err());
    }
}
