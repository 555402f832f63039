//! The tests that may be skipped where the machine lacks something: `tests/skips.toml`.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::place;

/// Where they are listed.
pub(super) const FILE: &str = "tests/skips.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// `BINARY TEST`, as nextest names them.
    test: String,
    /// What the machine lacks, and where the property is shown instead.
    why: String,
}

/// The skips that are known.
#[derive(Debug)]
pub(super) struct Skips(BTreeSet<String>);

impl Skips {
    /// From the file; each entry has a reason.
    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(place::root().join(FILE))
            .with_context(|| format!("cannot read {FILE}"))?;
        let written: Written =
            toml::from_str(&text).with_context(|| format!("cannot read {FILE}"))?;
        if let Some(skip) = written.skip.iter().find(|skip| skip.why.trim().is_empty()) {
            bail!("{FILE}: {} is skipped without a reason", skip.test);
        }
        Ok(Self(written.skip.into_iter().map(|skip| skip.test).collect()))
    }

    #[cfg(test)]
    pub(super) fn of<const N: usize>(tests: [&str; N]) -> Self {
        Self(tests.map(str::to_owned).into())
    }

    /// Whether a test may be skipped.
    pub(super) fn has(&self, test: &str) -> bool {
        self.0.contains(test)
    }
}
