//! Raw samples, as they are kept: one JSON file for each measurement.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use xtask::machine::{self, Machine};

use crate::{
    place,
    statistics::{kibibytes, millis},
};

/// What a measurement found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Results {
    /// Its name, and that of its file.
    pub(crate) name: String,
    /// What was measured, in one sentence.
    pub(crate) what: String,
    /// Under which conditions, in one or two sentences.
    pub(crate) conditions: String,
    /// When, in UTC.
    pub(crate) measured_at: String,
    /// The revision of the source tree; with `+` when it had changes.
    pub(crate) revision: String,
    /// On which machine.
    pub(crate) machine: Machine,
    /// Versions of other programs that matter here.
    pub(crate) versions: BTreeMap<String, String>,
    /// Of what the samples are.
    #[serde(default, skip_serializing_if = "Unit::is_time")]
    pub(crate) unit: Unit,
    /// The samples.
    pub(crate) series: Vec<Series>,
}

/// Samples of one thing, in the order they were taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Series {
    /// A short name; a budget refers to it.
    pub(crate) name: String,
    /// What is done.
    pub(crate) what: String,
    /// What was found each time, in the results' unit.
    #[serde(alias = "micros")]
    pub(crate) samples: Vec<u64>,
}

impl Series {
    pub(crate) fn new(name: &str, what: &str, samples: Vec<u64>) -> Self {
        Self { name: name.to_owned(), what: what.to_owned(), samples }
    }
}

/// What samples are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// How long it took, in microseconds.
    #[default]
    Micros,
    /// How much it took, in bytes.
    Bytes,
}

impl Unit {
    /// A value for people.
    pub(crate) fn show(self, value: u64) -> String {
        match self {
            Self::Micros => millis(value),
            Self::Bytes => kibibytes(value),
        }
    }

    /// Nothing is said of what nearly all are.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    fn is_time(&self) -> bool {
        *self == Self::Micros
    }
}

impl Results {
    /// Times of this tree, on this machine, now.
    pub(crate) fn here(
        name: &str,
        what: &str,
        conditions: &str,
        versions: impl IntoIterator<Item = (&'static str, String)>,
        series: Vec<Series>,
    ) -> Result<Self> {
        let versions = versions.into_iter().map(|(program, version)| (program.to_owned(), version));
        Ok(Self {
            name: name.to_owned(),
            what: what.to_owned(),
            conditions: conditions.to_owned(),
            measured_at: machine::now()?,
            revision: machine::revision()?,
            machine: Machine::here()?,
            versions: versions.collect(),
            unit: Unit::Micros,
            series,
        })
    }

    /// Writes them to their file, replacing older ones.
    pub(crate) fn write(&self) -> Result<()> {
        let path = place::results().join(format!("{}.json", self.name));
        let mut text = serde_json::to_string(self).context("cannot write results as JSON")?;
        // A line for each series: changes can be read.
        for key in ["\"machine\":", "\"versions\":", "\"series\":", "{\"name\":"] {
            text = text.replace(key, &format!("\n{key}"));
        }
        fs::write(&path, format!("{}\n", text.trim_start()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A series by its name.
    pub(crate) fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }
}

/// All results there are, sorted by name.
pub(crate) fn read_all() -> Result<Vec<Results>> {
    let folder = place::results();
    let mut results = Vec::new();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let reading = || format!("cannot read {}", path.display());
            let text = fs::read_to_string(&path).with_context(reading)?;
            results.push(serde_json::from_str::<Results>(&text).with_context(reading)?);
        }
    }
    results.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(results)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Results with these samples.
    pub(crate) fn results(name: &str, series: &[(&str, &[u64])]) -> Results {
        let series = series.iter().map(|(name, samples)| Series {
            name: (*name).to_owned(),
            what: format!("does {name}"),
            samples: samples.to_vec(),
        });
        Results {
            name: name.to_owned(),
            what: "What was measured".to_owned(),
            conditions: "On a quiet machine.".to_owned(),
            measured_at: "2026-01-02T03:04:05Z".to_owned(),
            revision: "abc".to_owned(),
            machine: Machine {
                cpu: "a CPU".to_owned(),
                cores: 2,
                memory_mib: 4096,
                kernel: "6.1".to_owned(),
            },
            versions: BTreeMap::from([("lxc".to_owned(), "5.0".to_owned())]),
            unit: Unit::Micros,
            series: series.collect(),
        }
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let written = results("clone", &[("ioctl", &[1, 2])]);
        let text = serde_json::to_string(&written).unwrap();
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), written);
    }
}
