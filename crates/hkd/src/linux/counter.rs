//! Files of the kernel that count something, read again and again without being looked for.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// More than any of these files has.
const SIZE: usize = 4096;

/// Such a file, which stays open. That holds up nobody who removes what it is of.
#[derive(Debug)]
pub(super) struct Counter(File);

impl Counter {
    /// Opens one; `None` when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Err(error) if is_gone(&error) => Ok(None),
            file => Ok(Some(Self(file?))),
        }
    }

    /// What it says now; nothing when what it is of is gone.
    pub(super) fn read(&self) -> io::Result<String> {
        let mut bytes = [0; SIZE];
        match self.0.read_at(&mut bytes, 0) {
            Err(error) if is_gone(&error) => Ok(String::new()),
            read => {
                let bytes = bytes.get(..read?).unwrap_or_default();
                Ok(String::from_utf8_lossy(bytes).into_owned())
            }
        }
    }
}

/// Whether an error only says that something is not there, or no more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_counts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        assert!(Counter::open(&file).unwrap().is_none());
        std::fs::write(&file, "oom_kill 1\n").unwrap();
        let counter = Counter::open(&file).unwrap().unwrap();
        assert_eq!(counter.read().unwrap(), "oom_kill 1\n");
        std::fs::write(&file, "oom_kill 22\n").unwrap();
        assert_eq!(counter.read().unwrap(), "oom_kill 22\n", "it is read from its beginning");
    }
}
