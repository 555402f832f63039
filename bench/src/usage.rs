//! What processes take of the machine.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// The time that the threads of these processes have had a core.
pub(crate) fn cpu(processes: &[u32]) -> Result<Duration> {
    let mut nanos = 0;
    for process in processes {
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let said = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = said.split(' ').next().and_then(|word| word.parse::<u64>().ok());
            nanos += first.context("the kernel counts the time of threads")?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Their resident memory, in bytes.
pub(crate) fn resident(processes: &[u32]) -> Result<u64> {
    let mut kib = 0;
    for process in processes {
        let said = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = said.lines().find_map(|line| line.strip_prefix("Rss:"));
        let word = line.and_then(|line| line.split_whitespace().next());
        kib += word.and_then(|word| word.parse::<u64>().ok()).context("it has memory")?;
    }
    Ok(kib * 1024)
}
