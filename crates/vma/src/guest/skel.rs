//! Copies the image's first files of a home, as the user whom it belongs to.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::arguments;

/// How deep folders may lie in each other.
const DEPTH_MAX: usize = 32;

/// The part `skel --from FOLDER --to HOME`: fills the home if it is empty.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let from: PathBuf = arguments::value(arguments, "--from")?;
    let to: PathBuf = arguments::value(arguments, "--to")?;
    if from.is_dir() && is_empty(&to)? {
        copy(&from, &to, DEPTH_MAX)?;
    }
    Ok(())
}

/// Whether nothing but what a file system brings with it is there.
fn is_empty(home: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(home)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

fn copy(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, mode) = (entry.file_type()?, entry.metadata()?.mode() & 0o777);
        let target = to.join(entry.file_name());
        let done = if kind.is_dir() {
            match fs::DirBuilder::new().mode(mode | 0o700).create(&target) {
                Ok(()) if depth > 0 => copy(&entry.path(), &target, depth - 1),
                done => done,
            }
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)
        } else if kind.is_file() {
            copy_file(&entry.path(), &target, mode)
        } else {
            Ok(())
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // What the user may not read in the image is not the user's.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create_new(true).mode(mode | 0o600).open(to)?;
    io::copy(&mut source, &mut target).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_home_is_filled_once() {
        let (skel, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(skel.path().join(".config/app")).unwrap();
        fs::write(skel.path().join(".config/app/rc"), "a").unwrap();
        fs::write(skel.path().join(".profile"), "b").unwrap();
        symlink(".profile", skel.path().join(".login")).unwrap();
        fs::create_dir(home.path().join("lost+found")).unwrap();
        let arguments =
            ["--from", skel.path().to_str().unwrap(), "--to", home.path().to_str().unwrap()]
                .map(str::to_owned);
        run(&arguments).unwrap();
        assert_eq!(fs::read_to_string(home.path().join(".config/app/rc")).unwrap(), "a");
        assert_eq!(fs::read_to_string(home.path().join(".login")).unwrap(), "b");
        fs::remove_file(home.path().join(".profile")).unwrap();
        run(&arguments).unwrap();
        assert!(!home.path().join(".profile").exists(), "what the user removed stays away");
    }
}
