//! Removes what dead test runs left on the machine, and touches nothing else.
//!
//! A run of the end-to-end tests works in a folder `/tmp/qvd-test-ID` of its own. There `owner` holds
//! the process that made it (`PID STARTTIME`, as in proc(5)), and `prefix` the prefix of its names on
//! the machine. A run is dead when its owner is; then everything that leads back to the folder or the
//! prefix goes: processes, mounts, loop devices, control groups, links, rules, and the folder last.

mod cgroups;
mod loops;
mod mounts;
mod network;
mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// Where runs have their folders.
const PLACE: &str = "/tmp";
/// What the name of a run's folder begins with.
const NAME: &str = "qvd-test-";
/// The longest prefix that names on the machine can have.
const LONGEST_PREFIX: usize = 6;

/// A run whose owner is dead.
#[derive(Debug)]
struct Run {
    folder: PathBuf,
    /// What its names on the machine begin with, if it came so far.
    prefix: Option<String>,
}

impl Run {
    /// Whether a path is the run's folder or below it.
    fn has(&self, path: impl AsRef<Path>) -> bool {
        path.as_ref().starts_with(&self.folder)
    }
}

/// Sweeps; an error when something of a dead run could not be removed.
pub(crate) fn run() -> Result<()> {
    let mut stuck = 0;
    for run in dead(Path::new(PLACE))? {
        say::line(format_args!("sweep: {}: its owner is dead", run.folder.display()));
        if let Err(error) = remove(&run) {
            say::line(format_args!("sweep: {}: {error:#}", run.folder.display()));
            stuck += 1;
        }
    }
    if stuck > 0 {
        bail!("{stuck} dead runs could not be removed (root can)");
    }
    Ok(())
}

/// The runs whose owner is dead. A folder that does not name its owner is left alone.
fn dead(place: &Path) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
        let folder = entry?.path();
        let named = folder.file_name().and_then(|name| name.to_str());
        if !named.is_some_and(|name| name.starts_with(NAME)) || !folder.is_dir() {
            continue;
        }
        // Written by the owner right after the folder: a live run may be between the two.
        let Ok(owner) = fs::read_to_string(folder.join("owner")) else { continue };
        let Some(owner) = processes::Identity::parse(&owner) else { continue };
        if !owner.is_alive() {
            let prefix = fs::read_to_string(folder.join("prefix")).ok();
            let prefix = prefix.map(|text| text.trim().to_owned()).filter(|text| is_prefix(text));
            found.push(Run { folder, prefix });
        }
    }
    Ok(found)
}

/// Whether a text can be the prefix of a run. That of an installation cannot be swept away.
fn is_prefix(text: &str) -> bool {
    (1..=LONGEST_PREFIX).contains(&text.len())
        && text != "qvd"
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn remove(run: &Run) -> Result<()> {
    processes::end(run)?;
    cgroups::remove(run)?;
    network::remove(run)?;
    mounts::detach(run)?;
    loops::detach(run)?;
    if let Some(mount) = mounts::left(run)?.first() {
        bail!("{} is still mounted", mount.display());
    }
    fs::remove_dir_all(&run.folder)
        .with_context(|| format!("cannot remove {}", run.folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_dead_when_its_owner_is_and_foreign_folders_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: Option<&str>| {
            let folder = place.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(owner) = owner {
                fs::write(folder.join("owner"), owner).unwrap();
            }
            folder
        };
        let me = processes::Identity::of(std::process::id().cast_signed()).unwrap();
        make("qvd-test-alive", Some(&me.to_string()));
        make("qvd-test-unnamed", None);
        make("qvd-test-odd", Some("someone"));
        make("other", Some("1 1"));
        let dead_folder = make("qvd-test-dead", Some(&format!("{} 1", me.pid)));
        fs::write(dead_folder.join("prefix"), "t1a2b\n").unwrap();
        let found = dead(place.path()).unwrap();
        let [run] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(run.folder, dead_folder);
        assert_eq!(run.prefix.as_deref(), Some("t1a2b"));
    }

    #[test]
    fn the_prefix_of_an_installation_is_none_of_a_run() {
        assert!(is_prefix("t1a2b"));
        for foreign in ["qvd", "", "toolong", "a-b", "1ab", "../x"] {
            assert!(!is_prefix(foreign), "{foreign}");
        }
    }
}
