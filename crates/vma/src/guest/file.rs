//! Reads small system files whole, and replaces them so that a reader sees the old or the new one,
//! never a part.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

use super::GuestError;

/// The largest file read here: an image may block a million hosts in `/etc/hosts`.
const SIZE_MAX: u64 = 64 * 1024 * 1024;

/// All that is in the file `path`, or in the one that a link there leads to; nothing only if there is
/// none. What cannot be read, is no regular file or is too large is an error: who took it for empty
/// would write over what it holds.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, GuestError> {
    match read_whole(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(GuestError::file("read", path)(error)),
    }
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe that nobody writes to would hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Where what `path` names is kept: where the link leads to, if it is one. A link to nothing is an
/// error.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, GuestError> {
    let resolved = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(path.to_owned()),
    };
    resolved.map_err(GuestError::file("follow", path))
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
        // What cannot be compared is written.
        let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
        if is_file && read_whole(path).is_ok_and(|old| old == content) {
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
        assert_eq!(read(&path).unwrap().unwrap(), b"newer\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }
    #[test]
    fn only_what_is_not_there_is_taken_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert!(read(&path("none")).unwrap().is_none());
        fs::write(path("file"), "text").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(read(&path("link")).unwrap().unwrap(), b"text");
        assert_eq!(resolve(&path("link")).unwrap(), fs::canonicalize(path("file")).unwrap());
        assert_eq!(resolve(&path("none")).unwrap(), path("none"));

        symlink(path("link-to-itself"), path("link-to-itself")).unwrap();
        symlink(path("none"), path("link-to-nothing")).unwrap();
        for name in ["link-to-itself", "link-to-nothing"] {
            assert!(resolve(&path(name)).is_err(), "{name}");
        }
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), fifo, 0o600.into(), 0).unwrap();
        File::create(path("large")).unwrap().set_len(SIZE_MAX + 1).unwrap();
        for name in [".", "file/below", "socket", "pipe", "large", "link-to-itself"] {
            assert!(read(&path(name)).is_err(), "{name}");
        }
    }
}
