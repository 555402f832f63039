//! The machine that is measured on.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::program;

/// What about a machine decides its numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Result<Self> {
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

/// The value of the first line `KEY: VALUE`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// The revision of the source tree; with `+` when it has changes.
pub(crate) fn revision() -> Result<String> {
    let revision = program::run("git", &["rev-parse", "--short=12", "HEAD"])?;
    let changes =
        program::run("git", &["status", "--porcelain", "--untracked-files=no", "--", "crates"])?;
    Ok(if changes.is_empty() { revision } else { format!("{revision}+") })
}

/// Now, in UTC, to the second.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
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
