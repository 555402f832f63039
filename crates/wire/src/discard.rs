//! Closes what somebody sent who is not trusted, without waiting for it.
//!
//! To close a descriptor may take as long as its sender likes: a TCP socket with `SO_LINGER` waits for
//! a peer that takes nothing, the last name of a large file waits for the disk, and a unix socket
//! closes what was sent to it and never received, which may be such a one again. The kernel does that
//! in the thread that closes, or that receives and does not take. A daemon that did it in a thread of
//! its runtime would stand still for everybody.
//!
//! So what was not asked for is closed in a thread that may be left behind, and first made such that
//! there is nothing to wait for.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
};

use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, accept_with, connect_unspec, shutdown, sockopt,
};

use crate::descriptor::receive_with;

/// How many messages or connections are taken out of one socket. The kernel holds fewer.
const TAKEN_MAX: usize = 4096;

/// How many sockets are held at once that still have to be emptied.
const HELD_MAX: usize = 512;

/// Closes descriptors of somebody else's making. Returns at once.
pub fn discard(descriptors: Vec<OwnedFd>) {
    if descriptors.is_empty() {
        return;
    }
    let closing = thread::Builder::new().name("discard".to_owned());
    // Where there is no thread to be had, they are closed here.
    let _ = closing.spawn(move || close_all(descriptors));
}

/// Ends a conversation over a unix socket with somebody who is not trusted, before the socket is closed:
/// nothing more is taken, and what was sent and not received is discarded. Returns at once.
pub fn hang_up(socket: impl AsFd) {
    let mut left = Vec::new();
    empty(socket.as_fd(), &mut left);
    discard(left);
}

fn close_all(mut left: Vec<OwnedFd>) {
    while let Some(one) = left.pop() {
        match sockopt::socket_domain(&one) {
            Ok(AddressFamily::UNIX) if left.len() < HELD_MAX => {
                empty(one.as_fd(), &mut left);
            }
            Ok(AddressFamily::UNIX) | Err(_) => {}
            Ok(_) => {
                // One that is not connected has nothing to wait for. Each may fail where the socket
                // is of another kind: then it is closed as it is.
                let _ = sockopt::set_socket_linger(&one, None);
                let _ = connect_unspec(&one);
            }
        }
    }
}

/// Takes all that waits in a unix socket, to which nothing more can be sent then.
fn empty(socket: BorrowedFd<'_>, found: &mut Vec<OwnedFd>) {
    // It also makes that nothing below waits, whatever the sender's flags are.
    let _ = shutdown(socket, Shutdown::Both);
    // What was sent out of band would be closed in passing.
    let _ = sockopt::set_socket_oobinline(socket, true);
    let mut bytes = [0; 4096];
    for _ in 0..TAKEN_MAX {
        match receive_with(socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, came)) if came.is_empty() => break,
            Ok((_, came)) => found.extend(came),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if sockopt::socket_acceptconn(socket).unwrap_or_default() {
        for _ in 0..TAKEN_MAX {
            match accept_with(socket, SocketFlags::CLOEXEC) {
                Ok(waiting) => found.push(waiting),
                Err(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor;
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
        time::{Duration, Instant},
    };

    /// How long closing a trap takes.
    const LINGER: Duration = Duration::from_secs(20);

    /// A TCP socket that is not closed before its peer, which reads nothing, has read all.
    fn trap() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut trap = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (deaf, _) = listener.accept().unwrap();
        sockopt::set_socket_linger(&trap, Some(LINGER)).unwrap();
        trap.set_nonblocking(true).unwrap();
        while trap.write(&[0; 4096]).is_ok() {}
        trap.set_nonblocking(false).unwrap();
        (trap, deaf)
    }

    fn at_once<T>(what: &str, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        assert!(begun.elapsed() < LINGER / 2, "{what} took {:?}", begun.elapsed());
        done
    }

    /// What is sent with a message and not asked for holds up neither the reader nor who hangs up.
    #[test]
    fn a_socket_that_lingers_holds_nobody_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (sent, _deaf) = trap();
        let (more, _deaf_too) = trap();
        descriptor::send(&theirs, b"x", sent.as_fd()).unwrap();
        descriptor::send(&theirs, b"y", more.as_fd()).unwrap();
        drop((sent, more));
        let (_, came) = descriptor::receive_all(&ours, &mut [0; 1]).unwrap();
        assert_eq!(came.len(), 1);
        at_once("to discard one", || discard(came));
        at_once("to hang up on another", move || {
            hang_up(&ours);
            drop(ours);
        });
    }

    /// Nor does one in a socket that was itself sent, or in a connection that waits to be accepted.
    #[test]
    fn what_lies_deeper_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let waiting = UnixStream::connect(&path).unwrap();
        let (outer, kept) = UnixStream::pair().unwrap();
        let (one, _deaf) = trap();
        let (two, _deaf_too) = trap();
        descriptor::send(&waiting, b"x", one.as_fd()).unwrap();
        descriptor::send(&kept, b"x", two.as_fd()).unwrap();
        drop((one, two, waiting, kept));
        at_once("to close them all", || close_all(vec![listener.into(), outer.into()]));
    }

    /// A conversation in which nothing is left ends in the thread that ends it, and the peer sees that.
    #[test]
    fn an_honest_peer_is_hung_up_on() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        hang_up(&ours);
        drop(ours);
        assert_eq!(rustix::io::read(&theirs, &mut [0; 8]), Ok(0));
    }
}
