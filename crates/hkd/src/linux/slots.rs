//! Ranges of user and group ids: a running VM holds one *slot* of its machine.
//!
//! Every installation on a kernel shares the ranges, so they are taken in one place, under one lock: a
//! folder with a file for each slot taken, which names the run directory of the VM that holds it. A
//! slot whose run directory is gone is free.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, renameat,
        unlinkat,
    },
    io::Errno,
    process::geteuid,
};

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

/// Where slots are taken: a folder that nobody but root could have made.
pub fn folder() -> PathBuf {
    PathBuf::from("/run/qvd-slots")
}

/// Takes the lowest free slot for a run directory, or the one it has already.
pub fn claim(folder: &Path, run_directory: &Path) -> Result<Option<u32>> {
    let doing = || format!("take a range of ids in {}", show(folder));
    let text = run_directory.to_str().ok_or_else(|| Error::Unexpected {
        what: run_directory.display().to_string(),
        why: "the path is not UTF-8".to_owned(),
    })?;
    let table = Table::open(folder)?;
    let mut taken = BTreeSet::new();
    for slot in table.slots().doing(doing)? {
        match table.holder(slot).doing(doing)? {
            Some(holder) if holder == run_directory => return Ok(Some(slot)),
            Some(holder) if holder.is_dir() => drop(taken.insert(slot)),
            Some(_) | None => {}
        }
    }
    let free = (0..SLOTS).find(|slot| !taken.contains(slot));
    if let Some(slot) = free {
        table.give(slot, text).doing(doing)?;
    }
    Ok(free)
}

/// Gives back what a run directory holds.
pub fn release(folder: &Path, slot: u32, run_directory: &Path) -> Result<()> {
    let doing = || format!("give back the range of ids {slot} in {}", show(folder));
    let table = Table::open(folder)?;
    if table.holder(slot).doing(doing)?.is_some_and(|holder| holder == run_directory) {
        unlinkat(&table.folder, slot.to_string(), AtFlags::empty()).doing(doing)?;
    }
    Ok(())
}

/// The folder, with its lock held. No link is followed in it.
struct Table {
    folder: File,
    _lock: File,
}

impl Table {
    fn open(path: &Path) -> Result<Self> {
        let doing = || format!("open {}", show(path));
        match mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing(|| format!("make the folder {}", show(path))),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = File::from(openat(CWD, path, flags, Mode::empty()).doing(doing)?);
        let found = fstat(&folder).doing(doing)?;
        let writable = Mode::from_raw_mode(found.st_mode).intersects(Mode::WGRP | Mode::WOTH);
        if found.st_uid != geteuid().as_raw() || writable {
            return Err(Error::Unexpected {
                what: path.display().to_string(),
                why: "others could write in it: it must be root's alone".to_owned(),
            });
        }
        let lock = open_at(&folder, "lock", OFlags::WRONLY | OFlags::CREATE).doing(doing)?;
        flock(&lock, FlockOperation::LockExclusive).doing(doing)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Those that somebody was given.
    fn slots(&self) -> io::Result<Vec<u32>> {
        let entries = Dir::read_from(&self.folder)?.collect::<Result<Vec<_>, Errno>>()?;
        let names = entries.iter().filter_map(|entry| entry.file_name().to_str().ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    fn holder(&self, slot: u32) -> io::Result<Option<PathBuf>> {
        match open_at(&self.folder, &slot.to_string(), OFlags::RDONLY) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                Ok(Some(PathBuf::from(text)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes who holds a slot, whole or not at all.
    fn give(&self, slot: u32, holder: &str) -> io::Result<()> {
        let mut file =
            open_at(&self.folder, "new", OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(holder.as_bytes())?;
        Ok(renameat(&self.folder, "new", &self.folder, slot.to_string())?)
    }
}

fn open_at(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

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
    fn a_folder_that_others_prepared_is_refused_and_no_link_in_it_followed() {
        let place = tempfile::tempdir().unwrap();
        let (slots, run) = (place.path().join("slots"), place.path().join("run"));
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&run).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &slots).unwrap();
        assert!(claim(&slots, &run).is_err(), "a link to a folder");
        fs::remove_file(&slots).unwrap();
        fs::create_dir(&slots).unwrap();
        fs::set_permissions(&slots, fs::Permissions::from_mode(0o1777)).unwrap();
        let open = claim(&slots, &run).unwrap_err().to_string();
        assert!(open.ends_with("others could write in it: it must be root's alone"), "{open}");
        fs::set_permissions(&slots, fs::Permissions::from_mode(0o700)).unwrap();
        let precious = place.path().join("precious");
        fs::write(&precious, "dear").unwrap();
        for name in ["lock", "new", "0"] {
            symlink(&precious, slots.join(name)).unwrap();
            assert!(claim(&slots, &run).is_err(), "{name}");
            fs::remove_file(slots.join(name)).unwrap();
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "dear");
        assert_eq!(claim(&slots, &run).unwrap(), Some(0));
        assert_eq!(fs::metadata(&slots).unwrap().permissions().mode() & 0o777, 0o700);
    }

    /// What happens to a run directory.
    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Claim,
        Release,
        /// It goes without giving anything back, as when a machine is cleaned by hand.
        Vanish,
    }

    #[test]
    fn who_has_one_keeps_it_when_all_below_it_are_free() {
        let place = tempfile::tempdir().unwrap();
        let slots = place.path().join("slots");
        let runs = [0, 1, 2, 3, 4, 5, 6, 7].map(|run| place.path().join(run.to_string()));
        for run in &runs {
            fs::create_dir(run).unwrap();
            claim(&slots, run).unwrap();
        }
        for (slot, run) in (0..7).zip(&runs) {
            release(&slots, slot, run).unwrap();
        }
        assert_eq!(claim(&slots, &runs[7]).unwrap(), Some(7));
        assert_eq!(claim(&slots, &runs[0]).unwrap(), Some(0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Two running VMs never share an id, of whatever installation they are and however they end.
        #[test]
        fn no_two_share_an_id(
            deeds in prop::collection::vec(
                (0..6_usize, prop::sample::select(vec![Deed::Claim, Deed::Release, Deed::Vanish])),
                1..60,
            )
        ) {
            let place = tempfile::tempdir().unwrap();
            let slots = place.path().join("slots");
            let mut held: BTreeMap<usize, u32> = BTreeMap::new();
            for (who, deed) in deeds {
                let run = place.path().join(who.to_string());
                match deed {
                    Deed::Claim => {
                        fs::create_dir_all(&run).unwrap();
                        let slot = claim(&slots, &run).unwrap().unwrap();
                        prop_assert!(held.insert(who, slot).is_none_or(|before| before == slot));
                    }
                    // A slot that it does not hold is not its to give back.
                    Deed::Release => {
                        for slot in 0..6 {
                            release(&slots, slot, &run).unwrap();
                        }
                        held.remove(&who);
                    }
                    Deed::Vanish => {
                        let _ = fs::remove_dir(&run);
                        held.remove(&who);
                    }
                }
                let ids = held.values().map(|slot| base_of(*slot)..base_of(*slot) + IDS);
                let mut ids: Vec<_> = ids.collect();
                ids.sort_by_key(|range| range.start);
                prop_assert!(ids.windows(2).all(|pair| pair[0].end <= pair[1].start), "{ids:?}");
            }
        }
    }

    #[test]
    fn every_slot_fits_in_the_kernels_ids() {
        assert!(base_of(SLOTS - 1).checked_add(IDS).is_some());
    }
}
