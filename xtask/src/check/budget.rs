//! How long everything may take: `tests/budget.toml`.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::place;

/// Where it stands.
pub(super) const FILE: &str = "tests/budget.toml";

/// Seconds on two cores, from nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Budget {
    /// For everything.
    pub(super) whole: u64,
    /// For what `./check` does before the suites.
    prepare: u64,
    /// For each suite.
    suites: BTreeMap<String, u64>,
}

impl Budget {
    /// From the file, which has a line for each suite and gives away no more than there is.
    pub(super) fn read<'a>(suites: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let text = fs::read_to_string(place::root().join(FILE))
            .with_context(|| format!("cannot read {FILE}"))?;
        Self::of(&text, suites).with_context(|| format!("in {FILE}"))
    }

    fn of<'a>(text: &str, suites: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let budget: Self = toml::from_str(text)?;
        let suites: Vec<&str> = suites.into_iter().collect();
        for suite in &suites {
            ensure!(budget.suites.contains_key(*suite), "the suite {suite} has no budget");
        }
        let extra = budget.suites.keys().find(|name| !suites.contains(&name.as_str()));
        ensure!(extra.is_none(), "there is no suite {}", extra.map_or("", String::as_str));
        let given = budget.prepare + budget.suites.values().sum::<u64>();
        ensure!(given <= budget.whole, "{given} s are given away, of {} s", budget.whole);
        Ok(budget)
    }

    /// That of a suite.
    pub(super) fn suite(&self, name: &str) -> u64 {
        self.suites.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_has_a_share_and_together_they_have_no_more_than_the_whole() {
        let text = "whole = 10\nprepare = 3\n[suites]\nfmt = 2\ndeny = 5\n";
        assert_eq!(Budget::of(text, ["fmt", "deny"]).unwrap().suite("deny"), 5);
        let why = |text: &str, suites: &[&str]| {
            Budget::of(text, suites.iter().copied()).unwrap_err().to_string()
        };
        assert_eq!(why(text, &["fmt", "deny", "unit"]), "the suite unit has no budget");
        assert_eq!(why(text, &["fmt"]), "there is no suite deny");
        let more = text.replace("prepare = 3", "prepare = 4");
        assert_eq!(why(&more, &["fmt", "deny"]), "11 s are given away, of 10 s");
    }
}
