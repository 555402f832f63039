//! Where something was run, and of what revision.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::command::Command;

/// Revision, time and machine of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The revision of the source tree; with `+` when it had changes.
    pub(crate) revision: String,
    /// When it began, in UTC.
    pub(crate) began: String,
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Result<Self> {
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
            revision: format!("{}{mark}", said("git", &["rev-parse", "--short=12", "HEAD"])?),
            began: said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cpu,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib / 1024,
        })
    }

    /// Rows of a table that say it.
    pub(crate) fn rows(&self) -> String {
        let Self { revision, began, kernel, cpu, cores, memory_mib } = self;
        let machine = format!("{cpu}, {cores} cores, {memory_mib} MiB");
        let mut rows = String::new();
        for (what, value) in
            [("revision", revision), ("began", began), ("kernel", kernel), ("machine", &machine)]
        {
            let _ = writeln!(rows, "| {what} | {value} |");
        }
        rows
    }
}

/// The value of the first line `KEY: VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}
