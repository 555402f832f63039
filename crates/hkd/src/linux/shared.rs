//! What the kernel counts for all containers of a machine together: they are made by root, and all
//! theirs counts as root's too.

use std::{fs, path::PathBuf};

use super::error::{Doing, Result};

/// The least that many desktops take, by the names in `/proc/sys`. A kernel's own defaults (128
/// instances of inotify, 32,768 processes, 4,096 terminals) are meant for one desktop.
///
/// Open files have no share of their own: who opens them pays with memory, of which each desktop has a
/// limit. A number for all together is one that a single desktop could use up.
const LEAST: [(&str, u64); 5] = [
    ("fs.file-max", i64::MAX.unsigned_abs()),
    ("fs.inotify.max_user_instances", 65_536),
    ("fs.inotify.max_user_watches", 4_194_304),
    ("kernel.pid_max", 1_048_576),
    ("kernel.pty.max", 65_536),
];

/// A limit that is too low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLow {
    /// Its name, as `sysctl` takes it.
    pub name: &'static str,
    /// What it is.
    pub found: u64,
    /// What it should be at least.
    pub least: u64,
}

fn file(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

/// Those that are too low. One that the kernel does not have is none.
fn too_low() -> Vec<TooLow> {
    let found = |name: &str| fs::read_to_string(file(name)).ok()?.trim().parse::<u64>().ok();
    LEAST
        .into_iter()
        .filter_map(|(name, least)| {
            let found = found(name).filter(|found| *found < least)?;
            Some(TooLow { name, found, least })
        })
        .collect()
}

/// The limits that are too low and that this process cannot raise.
pub fn stuck() -> Vec<TooLow> {
    let fixed = |low: &TooLow| fs::File::options().write(true).open(file(low.name)).is_err();
    too_low().into_iter().filter(fixed).collect()
}

/// Raises limits that are too low.
pub fn raise() -> Result<()> {
    for TooLow { name, found, least } in too_low() {
        let doing = || format!("raise {name} from {found} to {least}");
        fs::write(file(name), least.to_string()).doing(doing)?;
        tracing::info!(name, found, least, "a limit of this machine was raised");
    }
    Ok(())
}
