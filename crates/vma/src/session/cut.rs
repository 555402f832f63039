//! Ends connections that another process of the same user holds.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use rustix::{
    net::{Shutdown, SocketAddrUnix, getsockname, shutdown, sockopt::socket_acceptconn},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

/// Shuts down what process `pid` accepted at the socket `path`, and says how many that were. It goes on
/// listening.
///
/// We keep no end of such a connection ourselves: then it would outlive the peer, and the process
/// would wait for one that died. Its own end is borrowed for the moment instead, for which it must be
/// a descendant of this process.
pub(crate) fn cut(pid: Pid, path: &Path) -> io::Result<usize> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let wanted = SocketAddrUnix::new(path)?;
    let mut cut = 0;
    for entry in fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid()))? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It goes on meanwhile: what it closed is no concern of ours.
        let Ok(theirs) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        if is_accepted_at(&theirs, &wanted) && shutdown(&theirs, Shutdown::Both).is_ok() {
            cut += 1;
        }
    }
    Ok(cut)
}

/// Whether this is a connection that was accepted at a socket.
fn is_accepted_at(descriptor: &OwnedFd, wanted: &SocketAddrUnix) -> bool {
    let own = getsockname(descriptor).ok().and_then(|own| SocketAddrUnix::try_from(own).ok());
    own.as_ref() == Some(wanted) && socket_acceptconn(descriptor) == Ok(false)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::{UnixListener, UnixStream},
    };

    use super::*;

    /// What was accepted at the socket in question ends at both sides; what was accepted at another,
    /// and the socket itself, go on.
    #[test]
    fn only_what_was_accepted_there_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("here");
        let elsewhere = folder.path().join("elsewhere");
        let pair = |path: &Path| {
            let listener = UnixListener::bind(path).unwrap();
            let client = UnixStream::connect(path).unwrap();
            let accepted = listener.accept().unwrap().0;
            (listener, client, accepted)
        };
        let (listener, mut client, mut accepted) = pair(&here);
        let (_other, mut spared, mut kept) = pair(&elsewhere);
        assert_eq!(cut(rustix::process::getpid(), &here).unwrap(), 1);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0);
        kept.write_all(b"x").unwrap();
        assert_eq!(spared.read(&mut [0]).unwrap(), 1);
        UnixStream::connect(&here).unwrap();
        listener.accept().unwrap();
    }
}
