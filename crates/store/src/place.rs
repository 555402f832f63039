//! Whether the file of an SQLite database is still the one that was opened. SQLite goes on with a file that
//! was moved away, removed or replaced: what is written there is found by nobody.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The place of a database, and what was last seen there.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// The file's device and number, if there was one, and since when.
    seen: Mutex<(Option<(u64, u64)>, Instant)>,
}

impl Place {
    /// Looks there for the first time.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: Mutex::new((file(path), Instant::now())) }
    }

    /// Whether what was opened so long ago is what is there now.
    pub(crate) fn has_kept(&self, age: Duration) -> bool {
        let now = Instant::now();
        let found = file(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != found {
            *seen = (found, now);
        }
        now.checked_sub(age).is_some_and(|opened| opened >= seen.1)
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_before_the_file_changed_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qvd.db");
        fs::write(&path, "one").unwrap();
        let place = Place::of(&path);
        let opened = Instant::now();
        fs::write(&path, "more").unwrap();
        assert!(place.has_kept(opened.elapsed()), "it is the same file");
        fs::rename(&path, folder.path().join("away")).unwrap();
        assert!(!place.has_kept(opened.elapsed()));
        // Back again, what was opened meanwhile is not trusted either.
        fs::rename(folder.path().join("away"), &path).unwrap();
        assert!(!place.has_kept(opened.elapsed()));
        let opened = Instant::now();
        assert!(place.has_kept(opened.elapsed()));
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!place.has_kept(opened.elapsed()));
    }
}
