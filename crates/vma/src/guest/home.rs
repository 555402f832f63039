//! Gives the user a home.
//!
//! A lasting home is there already: a mount in which the user's number is the only one that exists,
//! so that not even guest root can make a file in it. What is put into a home is therefore made by a
//! process of the user's own, which also cannot be led astray by links the user has put there.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, lchown},
        process::CommandExt,
    },
    path::Path,
    time::Duration,
};

use wire::agent::GuestUser;

use super::GuestError;
use crate::command;

/// Makes the home where it is missing, and fills it where it is empty.
pub(super) fn provide(user: &GuestUser) -> Result<(), GuestError> {
    let home = Path::new(&user.home);
    let failed = |verb| GuestError::file(verb, home);
    if fs::symlink_metadata(home).is_err() {
        make(home, user).map_err(failed("make"))?;
    }
    let found = fs::symlink_metadata(home).map_err(failed("look at"))?;
    let foreign = GuestError::ForeignHome {
        home: user.home.clone(),
        owner: found.uid(),
        name: user.name.clone(),
        uid: user.uid,
    };
    if !found.is_dir() {
        return Err(failed("use")(io::ErrorKind::NotADirectory.into()));
    }
    if found.uid() != user.uid {
        // An empty folder of root's is what an image keeps as a place for a home.
        let empty = fs::read_dir(home).is_ok_and(|mut entries| entries.next().is_none());
        if found.uid() != 0 || !empty {
            return Err(foreign);
        }
        lchown(home, Some(user.uid), Some(user.gid)).map_err(failed("give away"))?;
    }
    fill(user)
}

fn make(home: &Path, user: &GuestUser) -> io::Result<()> {
    if let Some(parent) = home.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    fs::DirBuilder::new().mode(0o700).create(home)?;
    lchown(home, Some(user.uid), Some(user.gid))
}

fn fill(user: &GuestUser) -> Result<(), GuestError> {
    let mut command = command::program("/proc/self/exe");
    command.args(["skel", "--from", "/etc/skel", "--to", &user.home]).gid(user.gid).uid(user.uid);
    command::run(&mut command, Duration::from_mins(1))
        .map(|_| ())
        .map_err(|error| GuestError::Skel { home: user.home.clone(), error })
}
