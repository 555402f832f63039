//! Ranges of user and group ids: a running VM holds one *slot* of its machine.
//!
//! Every installation on a kernel shares the ranges, so they are taken in one place, under one lock: a
//! folder with a file for each slot taken, which names the run directory of the VM that holds it. A
//! slot whose run directory is gone is free.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::error::{Doing, Error, Result, show};

/// How many slots a machine has.
pub const SLOTS: u32 = 15_000;
/// The first id of slot 0.
const FIRST_ID: u32 = 1_000_000;
/// Ids in a slot.
const IDS: u32 = 65_536;

/// The first id of a slot.
pub fn base_of(slot: u32) -> u32 {
    FIRST_ID + slot * IDS
}

/// Where slots are taken.
pub fn folder() -> PathBuf {
    PathBuf::from("/run/lock/qvd-slots")
}

/// Takes the lowest free slot for a run directory, or the one it has already.
pub fn claim(folder: &Path, run_directory: &Path) -> Result<Option<u32>> {
    let doing = || format!("take a range of ids in {}", show(folder));
    fs::create_dir_all(folder).doing(doing)?;
    let lock = File::create(folder.join("lock")).doing(doing)?;
    flock(&lock, FlockOperation::LockExclusive).doing(doing)?;
    let mut free = None;
    let taken = fs::read_dir(folder).doing(doing)?.count();
    // The slots in use are near the bottom: those taken, and one more, hold a free one.
    for slot in 0..SLOTS.min(u32::try_from(taken).unwrap_or(SLOTS) + 1) {
        match holder(&folder.join(slot.to_string())).doing(doing)? {
            Some(holder) if holder == run_directory => return Ok(Some(slot)),
            Some(holder) if holder.is_dir() => {}
            Some(_) | None => {
                free.get_or_insert(slot);
            }
        }
    }
    if let Some(slot) = free {
        let text = run_directory.to_str().ok_or_else(|| Error::Unexpected {
            what: run_directory.display().to_string(),
            why: "the path is not UTF-8".to_owned(),
        })?;
        fs::write(folder.join(slot.to_string()), text).doing(doing)?;
    }
    Ok(free)
}

/// Gives back what a run directory holds.
pub fn release(folder: &Path, slot: u32, run_directory: &Path) -> Result<()> {
    let doing = || format!("give back the range of ids {slot} in {}", show(folder));
    let file = folder.join(slot.to_string());
    if holder(&file).doing(doing)?.is_some_and(|holder| holder == run_directory) {
        fs::remove_file(&file).doing(doing)?;
    }
    Ok(())
}

fn holder(file: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(PathBuf::from(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_held_as_long_as_its_run_directory() {
        let place = tempfile::tempdir().unwrap();
        let slots = place.path().join("slots");
        let run = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (a, b, c) = (run("a"), run("b"), run("c"));
        assert_eq!(claim(&slots, &a).unwrap(), Some(0));
        assert_eq!(claim(&slots, &a).unwrap(), Some(0), "taking it twice is taking it once");
        assert_eq!(claim(&slots, &b).unwrap(), Some(1));
        fs::remove_dir(&a).unwrap();
        assert_eq!(claim(&slots, &c).unwrap(), Some(0));
        release(&slots, 1, &c).unwrap();
        assert_eq!(claim(&slots, &b).unwrap(), Some(1), "only its holder gives a slot back");
        release(&slots, 0, &c).unwrap();
        assert_eq!(claim(&slots, &run("d")).unwrap(), Some(0));
    }

    #[test]
    fn every_slot_fits_in_the_kernels_ids() {
        assert!(base_of(SLOTS - 1).checked_add(IDS).is_some());
    }
}
