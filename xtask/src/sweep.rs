//! Removes what dead test runs left on the machine, and touches nothing else.
//!
//! A run of the end-to-end tests works in a folder `/tmp/qvd-test-ID` of its own. There `owner` holds
//! the process that made it (`PID STARTTIME`, as in proc(5)), and `prefix` the prefix of its names on
//! the machine, `tID`. A run is dead when its owner is; then everything that leads back to the folder
//! or the prefix goes: processes, mounts, loop devices, control groups, links, rules, and the folder
//! last.
//!
//! Anybody can make a folder of such a name. What is in it is believed only when nobody but root (or
//! whoever sweeps) can have put it there.

mod cgroups;
mod loops;
mod mounts;
mod network;
mod processes;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::say;

/// Where runs have their folders.
const PLACE: &str = "/tmp";
/// What the name of a run's folder begins with.
const NAME: &str = "qvd-test-";
/// The longest ID: a prefix on the machine has six letters at most.
const LONGEST_ID: usize = 5;
/// The permission of others than the owner to write.
const OTHERS_WRITE: u32 = 0o022;

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
    for run in dead(Path::new(PLACE), rustix::process::geteuid().as_raw())? {
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

/// The runs whose owner is dead, in folders that this user made. A folder that does not name its owner
/// is left alone.
fn dead(place: &Path, user: u32) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(id) = name.and_then(|name| name.strip_prefix(NAME)) else { continue };
        if !is_of(&folder, user) {
            continue;
        }
        // Written by the owner right after the folder: a live run may be between the two.
        let Ok(owner) = fs::read_to_string(folder.join("owner")) else { continue };
        let Some(owner) = processes::Identity::parse(&owner) else { continue };
        if !owner.is_alive() {
            let prefix = fs::read_to_string(folder.join("prefix")).ok();
            let prefix = prefix.filter(|text| is_id(id) && text.trim() == format!("t{id}"));
            found.push(Run { prefix: prefix.map(|text| text.trim().to_owned()), folder });
        }
    }
    Ok(found)
}

/// Whether a path is a folder, no link to one, in which only this user makes files.
fn is_of(folder: &Path, user: u32) -> bool {
    // One that vanished meanwhile is none.
    fs::symlink_metadata(folder)
        .is_ok_and(|it| it.is_dir() && it.uid() == user && it.mode() & OTHERS_WRITE == 0)
}

/// Whether a text can be the ID of a run.
fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len())
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
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// A folder with an owner and a prefix, as a run makes it.
    fn folder(place: &Path, name: &str, owner: Option<&str>, prefix: &str) -> PathBuf {
        let folder = place.join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(owner) = owner {
            fs::write(folder.join("owner"), owner).unwrap();
        }
        fs::write(folder.join("prefix"), prefix).unwrap();
        folder
    }

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_run_is_dead_when_its_owner_is_and_foreign_folders_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: Option<&str>| folder(place.path(), name, owner, "t1a2b\n");
        let me_alive = processes::Identity::of(std::process::id().cast_signed()).unwrap();
        make("qvd-test-alive", Some(&me_alive.to_string()));
        make("qvd-test-unnamed", None);
        make("qvd-test-odd", Some("someone"));
        make("other", Some("1 1"));
        let dead_folder = make("qvd-test-1a2b", Some(&format!("{} 1", me_alive.pid)));
        let found = dead(place.path(), me()).unwrap();
        let [run] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(run.folder, dead_folder);
        assert_eq!(run.prefix.as_deref(), Some("t1a2b"));
    }

    #[test]
    fn nobody_else_can_steer_it() {
        let place = tempfile::tempdir().unwrap();
        let make = |name| folder(place.path(), name, Some("1 1"), "t1\n");
        let open = make("qvd-test-1");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        symlink(make("elsewhere"), place.path().join("qvd-test-2")).unwrap();
        assert!(dead(place.path(), me()).unwrap().is_empty());
        make("qvd-test-3");
        assert!(dead(place.path(), me() + 1).unwrap().is_empty(), "another user's is believed");
        assert_eq!(dead(place.path(), me()).unwrap().len(), 1);
    }

    #[test]
    fn a_prefix_is_that_of_the_folders_name() {
        for (id, prefix, good) in [
            ("1a2b", "t1a2b", true),
            ("1a2b", "t1a2", false),
            ("1a2b", "qvd", false),
            ("1a2b", "docker", false),
            ("toolong", "ttoolong", false),
            ("a-b", "ta-b", false),
        ] {
            let place = tempfile::tempdir().unwrap();
            folder(place.path(), &format!("qvd-test-{id}"), Some("1 1"), prefix);
            let found = dead(place.path(), me()).unwrap();
            let found: Vec<_> = found.iter().map(|run| run.prefix.as_deref()).collect();
            assert_eq!(found, [good.then_some(prefix)], "{id} {prefix}");
        }
    }
}
