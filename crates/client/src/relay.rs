//! Carries bytes between the server and nxproxy, and says who ended it.
//!
//! One loop owns both sides: a TLS connection cannot be read and written by two threads. Neither
//! side is read while the other does not take what was read.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::{fd::AsFd as _, unix::net::UnixStream},
};

use rustix::event::{PollFd, PollFlags, poll};

use crate::server::Stream;

/// How much is read at once, in bytes.
const PIECE: usize = 32 * 1024;

/// Which side closed first. See [`crate::session`] for what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// nxproxy: the desktop took its leave of it, or it was ended on this machine.
    Proxy,
    /// The server, or the network.
    Server,
}

/// Both sides, and what is held for nxproxy.
struct Relay<'a> {
    server: &'a mut Stream,
    proxy: &'a mut UnixStream,
    held: Vec<u8>,
}

/// Carries bytes until either side closes; `first` are the desktop's that were read before.
pub(crate) fn relay(
    server: &mut Stream,
    proxy: &mut UnixStream,
    first: Vec<u8>,
) -> io::Result<End> {
    server.sock.set_nonblocking(true)?;
    proxy.set_nonblocking(true)?;
    let mut relay = Relay { server, proxy, held: first };
    loop {
        if let Some(end) = relay.turn()? {
            relay.say_goodbye(end);
            return Ok(end);
        }
    }
}

impl Relay<'_> {
    /// Waits until something can be done, and does it.
    fn turn(&mut self) -> io::Result<Option<End>> {
        let sending = self.server.conn.wants_write();
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        let server_flags =
            when(self.held.is_empty(), PollFlags::IN) | when(sending, PollFlags::OUT);
        let proxy_flags =
            when(!sending, PollFlags::IN) | when(!self.held.is_empty(), PollFlags::OUT);
        let (server, proxy) = {
            let mut sides = [
                PollFd::from_borrowed_fd(self.server.sock.as_fd(), server_flags),
                PollFd::from_borrowed_fd(self.proxy.as_fd(), proxy_flags),
            ];
            match poll(&mut sides, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [server, proxy] = &sides;
            (server.revents(), proxy.revents())
        };
        // A side that has ended is read although the other is slow: its end shows again and again.
        let ended = PollFlags::HUP | PollFlags::ERR;
        // nxproxy first: when both have ended, it was the one that was asked to.
        if proxy.intersects(ended) || (proxy.contains(PollFlags::IN) && !sending) {
            match self.read_proxy() {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(Some(End::Proxy)),
            }
        }
        if proxy.contains(PollFlags::OUT) && self.write_proxy().is_err() {
            return Ok(Some(End::Proxy));
        }
        if server.contains(PollFlags::OUT) && self.write_server().is_err() {
            return Ok(Some(End::Server));
        }
        if server.intersects(ended) || (server.contains(PollFlags::IN) && self.held.is_empty()) {
            match self.read_server() {
                Ok(true) => {}
                Ok(false) | Err(_) => return Ok(Some(End::Server)),
            }
        }
        Ok(None)
    }

    /// From nxproxy into the TLS connection; false at its end.
    fn read_proxy(&mut self) -> io::Result<bool> {
        let mut bytes = [0; PIECE / 2];
        match self.proxy.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(read) => {
                // Sent by the next turns; nothing more is read until it is.
                self.server.conn.writer().write_all(bytes.get(..read).unwrap_or_default())?;
                self.write_server()?;
                Ok(true)
            }
            Err(error) if is_pause(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// What the network takes now.
    fn write_server(&mut self) -> io::Result<()> {
        while self.server.conn.wants_write() {
            match self.server.conn.write_tls(&mut self.server.sock) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if is_pause(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// From the network, decrypted, to nxproxy; false at its end.
    fn read_server(&mut self) -> io::Result<bool> {
        let mut open = match self.server.conn.read_tls(&mut self.server.sock) {
            Ok(read) => read > 0,
            Err(error) if is_pause(&error) => true,
            Err(error) => return Err(error),
        };
        self.server.conn.process_new_packets().map_err(io::Error::other)?;
        let mut bytes = [0; PIECE / 2];
        loop {
            match self.server.conn.reader().read(&mut bytes) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(read) => self.held.extend_from_slice(bytes.get(..read).unwrap_or_default()),
                Err(error) if is_pause(&error) => break,
                // The network ended without a word.
                Err(_) => {
                    open = false;
                    break;
                }
            }
        }
        self.write_proxy()?;
        Ok(open)
    }

    /// What nxproxy takes now.
    fn write_proxy(&mut self) -> io::Result<()> {
        let mut taken = 0;
        let result = loop {
            let rest = self.held.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.proxy.write(rest) {
                Ok(written) => taken += written,
                Err(error) if is_pause(&error) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.held.drain(..taken);
        result
    }

    /// The other side is told, as far as it listens.
    fn say_goodbye(&mut self, end: End) {
        match end {
            End::Proxy => {
                // What nxproxy said last must arrive: it tells the desktop that all is well.
                self.server.sock.set_nonblocking(false).ok();
                self.server.conn.send_close_notify();
                self.write_server().ok();
            }
            End::Server => {
                self.proxy.shutdown(std::net::Shutdown::Both).ok();
            }
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
