//! Where something was run, when, and of what revision.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::command::Command;

/// What about a machine decides its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The name of its processor.
    pub cpu: String,
    /// How many of its processors a process may use.
    pub cores: usize,
    /// Its memory, in MiB.
    pub memory_mib: u64,
    /// The release of its kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Result<Self> {
        let read =
            |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let meminfo = read("/proc/meminfo")?;
        let kib: u64 = value(&meminfo, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .context("/proc/meminfo does not tell the memory")?;
        Ok(Self {
            cpu: value(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib / 1024,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        })
    }
}

/// A run: of what, when, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// As [`revision`] says.
    pub revision: String,
    /// When it began, as [`now`] says.
    pub began: String,
    /// On which machine.
    #[serde(flatten)]
    pub machine: Machine,
}

impl Run {
    /// One that begins here and now.
    pub fn begins() -> Result<Self> {
        Ok(Self { revision: revision()?, began: now()?, machine: Machine::here()? })
    }

    /// Rows of a Markdown table that say it.
    pub fn rows(&self) -> String {
        let Self { revision, began, machine: Machine { cpu, cores, memory_mib, kernel } } = self;
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

/// The revision of the source tree; with `+` when the product has changes.
pub fn revision() -> Result<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments.iter().copied()).output();
        output.map(|text| text.trim().to_owned())
    };
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", "crates"])?;
    Ok(if changes.is_empty() { revision } else { format!("{revision}+") })
}

/// Now, in UTC, to the second.
pub fn now() -> Result<String> {
    let now = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    Ok(now.trim().to_owned())
}

/// The value of the first line `KEY: VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: A: CPU\nmodel name\t: another\n";
        assert_eq!(value(text, "model name"), Some("A: CPU"));
        assert_eq!(value("MemTotal:       24 kB\n", "MemTotal"), Some("24 kB"));
        assert_eq!(value(text, "model"), None);
    }
}
