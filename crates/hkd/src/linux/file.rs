//! Small files that are written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::error::{Doing, Error, Result, show};

/// The content of a file; `None` when it is not there.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing(|| format!("read {}", show(path))),
    }
}

/// Whether there is anything at a path.
pub fn exists(path: &Path) -> Result<bool> {
    path.try_exists().doing(|| format!("look for {}", show(path)))
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

/// Makes a folder that is there root's alone.
pub fn keep_to_root(path: &Path) -> Result<()> {
    let doing = || format!("keep {} to root", show(path));
    let found = path.symlink_metadata().doing(doing)?;
    if !found.is_dir() {
        return Err(Error::Unexpected {
            what: path.display().to_string(),
            why: "it is no folder".to_owned(),
        });
    }
    if (found.uid(), found.gid()) != (0, 0) {
        std::os::unix::fs::lchown(path, Some(0), Some(0)).doing(doing)?;
    }
    if found.mode() & 0o7777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).doing(doing)?;
    }
    Ok(())
}

/// Where a path leads when every link in it is followed. What is not there is taken as it is written.
pub fn real_path(path: &Path) -> Result<PathBuf> {
    let doing = || format!("follow {}", show(path));
    for above in path.ancestors() {
        match fs::canonicalize(above) {
            Ok(real) => {
                let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            // A link to nowhere is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !above.is_symlink() => {}
            Err(error) => return Err(error).doing(doing),
        }
    }
    Ok(path.to_owned())
}

/// What a volume lets files do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Set-user-id programs on it work on the host.
    pub set_user_id: bool,
    /// Device files on it work on the host.
    pub devices: bool,
}

/// The volume that holds a path.
pub fn volume(path: &Path) -> Result<Volume> {
    use rustix::fs::StatVfsMountFlags;
    let found = rustix::fs::statvfs(path).doing(|| format!("look at the volume of {}", show(path)));
    let flags = found?.f_flag;
    Ok(Volume {
        set_user_id: !flags.contains(StatVfsMountFlags::NOSUID),
        devices: !flags.contains(StatVfsMountFlags::NODEV),
    })
}

/// Lets a group pass through a folder, and nobody else but root.
pub fn let_in(path: &Path, gid: u32) -> Result<()> {
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
    fn a_path_is_followed_as_far_as_it_is_there() {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().canonicalize().unwrap();
        fs::create_dir_all(here.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", here.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", here.join("lost")).unwrap();
        for (path, leads) in [("a/b", "a/b"), ("link/x/y", "a/b/x/y"), ("new", "new")] {
            assert_eq!(real_path(&here.join(path)).unwrap(), here.join(leads), "{path}");
        }
        assert!(real_path(&here.join("lost/x")).is_err());
    }

    #[test]
    fn a_folder_is_kept_to_root_and_a_link_is_not_followed() {
        assert!(rustix::process::geteuid().is_root(), "only root gives folders away");
        let place = tempfile::tempdir().unwrap();
        let (folder, link) = (place.path().join("folder"), place.path().join("link"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        std::os::unix::fs::lchown(&folder, Some(12_345), Some(12_345)).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(keep_to_root(&link).is_err());
        keep_to_root(&folder).unwrap();
        let found = fs::metadata(&folder).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (0, 0, 0o700));
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
