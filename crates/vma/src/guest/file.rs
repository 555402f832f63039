//! Replaces small system files so that a reader sees the old or the new one, never a part.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

use rustix::io::Errno;

use super::GuestError;

/// The largest file read here.
const SIZE_MAX: u64 = 4 * 1024 * 1024;

/// What is in the regular file `path`; nothing when there is none or it is something else.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    if !fs::symlink_metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(SIZE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The guest's files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    /// Whether they outlive this run: then a power cut, too, leaves the old or the new one.
    pub(super) lasting: bool,
}

impl Files {
    /// Makes `path` a regular file with `content`. A symbolic link there is replaced, not followed. The
    /// mode and owner of a regular file there are kept; a new one gets `mode` and our owner. The
    /// folder must be one that only root writes.
    pub(super) fn replace(self, path: &Path, content: &[u8], mode: u32) -> Result<(), GuestError> {
        if read(path).as_deref() == Some(content) {
            return Ok(());
        }
        put(path, content, mode, self.lasting).map_err(GuestError::file("write", path))
    }
}

fn put(path: &Path, content: &[u8], mode: u32, lasting: bool) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.qvd"));
    // What an agent left that was ended in the middle.
    let _ = fs::remove_file(&fresh);
    let old = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    if let Some(old) = &old {
        use std::os::unix::fs::MetadataExt;
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    let mode = old.map_or(mode, |old| old.permissions().mode() & 0o7777);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    if lasting {
        file.sync_all()?;
    }
    match fs::rename(&fresh, path) {
        // Something is mounted on the file: it can only be written through.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
            let _ = fs::remove_file(&fresh);
            File::options().write(true).truncate(true).open(path)?.write_all(content)
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_replaced_and_a_mode_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("resolv.conf"), folder.path().join("other"));
        fs::write(&elsewhere, "theirs").unwrap();
        symlink(&elsewhere, &path).unwrap();
        let files = Files { lasting: true };
        files.replace(&path, b"ours\n", 0o644).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        files.replace(&path, b"newer\n", 0o644).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(read(&path).unwrap(), b"newer\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }
}
