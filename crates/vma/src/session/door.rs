//! The agent's way to a supervisor, through a folder that belongs to the user.
//!
//! The agent is root in the guest and the user is not: a link, a foreign socket or a stranger behind
//! it is not spoken to.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open, openat},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout, socket_peercred},
    },
};

use super::CONTROL;
use crate::peer::Peer;

/// Where the sessions' folders are, each named after its user's number.
pub(crate) const SESSIONS: &str = "/run/qvd/session";

/// The folder of a user's session.
pub(crate) fn folder(uid: u32) -> PathBuf {
    Path::new(SESSIONS).join(uid.to_string())
}

/// A conversation with the supervisor of this user; nothing when there is none. Whether there is one
/// cannot be told from an error: the session of one that is out of reach for now must not be taken
/// for an orphan.
pub(crate) fn knock(uid: u32) -> io::Result<Option<Peer>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    match knock_at(&folder(uid), uid) {
        Ok(peer) => Ok(Some(peer)),
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A conversation with whichever supervisor there is: a guest has one user.
pub(crate) fn knock_anywhere() -> io::Result<Option<Peer>> {
    let entries = match fs::read_dir(SESSIONS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut out_of_reach = None;
    for entry in entries {
        let Some(uid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match knock(uid) {
            Ok(Some(peer)) => return Ok(Some(peer)),
            Ok(None) => {}
            Err(error) => out_of_reach = Some(error),
        }
    }
    out_of_reach.map_or(Ok(None), Err)
}

fn knock_at(folder: &Path, uid: u32) -> io::Result<Peer> {
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(folder, look | OFlags::DIRECTORY, Mode::empty())?;
    let control = openat(&folder, CONTROL, look, Mode::empty())?;
    let found = fstat(&control)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket || found.st_uid != uid {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A socket that nobody serves must not hold us up.
    set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_secs(5)))?;
    connect(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}", control.as_raw_fd()))?)?;
    if socket_peercred(&socket)?.uid.as_raw() != uid {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Peer::new(UnixStream::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    #[test]
    fn only_the_users_own_socket_is_spoken_to() {
        let folder = tempfile::tempdir().unwrap();
        let own = rustix::process::getuid().as_raw();
        let elsewhere = folder.path().join("elsewhere");
        let _listener = UnixListener::bind(&elsewhere).unwrap();
        symlink(&elsewhere, folder.path().join(CONTROL)).unwrap();
        assert!(knock_at(folder.path(), own).is_err(), "a link is not followed");
        fs::rename(&elsewhere, folder.path().join(CONTROL)).unwrap();
        assert!(knock_at(folder.path(), own).is_ok());
        assert!(knock_at(folder.path(), own + 1).is_err(), "it is someone else's");
    }
}
