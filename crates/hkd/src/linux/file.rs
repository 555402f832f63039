//! Small files that are written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use super::error::{Doing, Result, show};

/// The content of a file; `None` when it is not there.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(|| format!("read {}", show(path))),
    }
}

/// Writes a file beside its place, syncs it, and renames it: whoever reads sees all or nothing.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let doing = || format!("write {}", show(path));
    let fresh = path.with_extension("new");
    let mut options = File::options();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&fresh).doing(doing)?;
    file.write_all(bytes).doing(doing)?;
    file.sync_all().doing(doing)?;
    fs::rename(&fresh, path).doing(doing)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).doing(doing)
}

/// Makes a folder with its parents; there already is fine.
pub fn make_folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .doing(|| format!("make the folder {}", show(path)))
}

/// Removes a folder of ours and the files and empty folders in it; not there is fine. It never
/// descends: what is mounted inside, or has grown inside, is not ours to remove and makes it fail.
pub fn remove_folder(path: &Path) -> Result<()> {
    let doing = || format!("remove {}", show(path));
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let names = match names(path) {
        Err(error) if error.is_missing() => return Ok(()),
        names => names?,
    };
    for name in names {
        let inner = path.join(name);
        let folder = fs::symlink_metadata(&inner).is_ok_and(|found| found.is_dir());
        let removed = if folder { fs::remove_dir(&inner) } else { fs::remove_file(&inner) };
        gone(removed).doing(doing)?;
    }
    gone(fs::remove_dir(path)).doing(doing)
}

/// Makes a folder that belongs to a user; there already is fine, and is left as it is. It is made
/// beside its place and renamed, so that a folder that is there is never one without its owner.
pub fn make_owned_folder(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
    let doing = || format!("make the folder {}", show(path));
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    match fs::DirBuilder::new().mode(mode).create(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).doing(doing);
        }
        _ => {}
    }
    std::os::unix::fs::lchown(&fresh, Some(uid), Some(gid)).doing(doing)?;
    fs::rename(&fresh, path).doing(doing)
}

/// Lets a group pass through a folder, and nobody else but root.
pub fn let_in(path: &Path, gid: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let doing = || format!("open {} to its container", show(path));
    std::os::unix::fs::lchown(path, Some(0), Some(gid)).doing(doing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o710)).doing(doing)
}

/// The names in a folder, but those that are not UTF-8: they are none of ours. A folder that is not
/// there, or cannot be read to its end, is an error: nobody may take it for an empty one.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let look = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    look().doing(|| format!("look into {}", show(path)))
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// With others who share it.
    Shared,
    /// Alone.
    Alone,
}

/// Takes the lock of a file or folder without waiting; `None` when another holds it.
pub fn lock(path: &Path, hold: Hold) -> Result<Option<File>> {
    let doing = || format!("lock {}", show(path));
    let file = if path.is_dir() {
        File::open(path)
    } else {
        File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
    }
    .doing(doing)?;
    let operation = match hold {
        Hold::Shared => FlockOperation::NonBlockingLockShared,
        Hold::Alone => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_no_empty_one() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(names(place.path()).unwrap(), [""; 0]);
        let gone = place.path().join("gone");
        assert!(names(&gone).unwrap_err().is_missing());
        remove_folder(&gone).unwrap();
        fs::write(&gone, "").unwrap();
        assert!(names(&gone).is_err());
    }

    #[test]
    fn an_owned_folder_is_made_once_and_whatever_a_death_left_is_used() {
        let place = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let home = place.path().join("ada");
        fs::create_dir(place.path().join("ada.new")).unwrap();
        make_owned_folder(&home, uid, gid, 0o700).unwrap();
        assert_eq!(names(place.path()).unwrap(), ["ada"]);
        fs::write(home.join("letter"), "dear").unwrap();
        make_owned_folder(&home, uid, gid, 0o700).unwrap();
        assert_eq!(names(&home).unwrap(), ["letter"]);
    }
}
