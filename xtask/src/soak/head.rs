//! What was run, where.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::command::Command;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) about: String,
    /// The revision of the source tree; with `+` when it had changes.
    pub(super) revision: String,
    /// When it began, in UTC.
    pub(super) began: String,
    pub(super) kernel: String,
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_mib: u64,
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
        let read =
            |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments.iter().copied()).output();
            output.map(|text| text.trim().to_owned())
        };
        let cpu = value(&read("/proc/cpuinfo")?, "model name").unwrap_or("unknown").to_owned();
        let meminfo = read("/proc/meminfo")?;
        let kib = value(&meminfo, "MemTotal").and_then(|text| text.split(' ').next());
        let kib: u64 = kib
            .and_then(|text| text.parse().ok())
            .context("/proc/meminfo does not tell the memory")?;
        let changes = ["status", "--porcelain", "--untracked-files=no", "--", "crates"];
        let mark = if said("git", &changes)?.is_empty() { "" } else { "+" };
        Ok(Self {
            name: name.to_owned(),
            about: about.to_owned(),
            revision: format!("{}{mark}", said("git", &["rev-parse", "--short=12", "HEAD"])?),
            began: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib / 1024,
            vms,
            first_seed: first,
            asked,
            seconds: 0,
            failed: Vec::new(),
        })
    }
}

/// The value of the first line `KEY: VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}
