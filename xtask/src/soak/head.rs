//! What was run, where.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::machine::Run;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) about: String,
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) vms: u64,
    pub(super) first_seed: u64,
    /// How many rounds were asked for.
    pub(super) asked: u64,
    /// How long all took.
    pub(super) seconds: u64,
    /// The seeds of rounds that failed.
    pub(super) failed: Vec<u64>,
}

impl Head {
    /// Of rounds on this machine that are about to be run.
    pub(super) fn here(name: &str, about: &str, vms: u64, first: u64, asked: u64) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            about: about.to_owned(),
            run: Run::begins()?,
            vms,
            first_seed: first,
            asked,
            seconds: 0,
            failed: Vec::new(),
        })
    }
}
