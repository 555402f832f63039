//! One who speaks with the supervisor or the agent, and the client that comes of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "part of a test: what fails here fails the test"
)]

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use wire::{
    agent::{Ask, Session, Tell},
    frame::{Decoder, encode},
};

use crate::screen::PATIENCE;

fn relay(mut from: TcpStream, mut to: UnixStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn relay_back(mut from: UnixStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A client; cut off when dropped.
pub(crate) struct Client {
    nxproxy: Child,
    near: TcpStream,
    far: UnixStream,
}

impl Client {
    pub(crate) fn new(nxproxy: Child, near: TcpStream, far: UnixStream) -> Self {
        relay(near.try_clone().unwrap(), far.try_clone().unwrap());
        relay_back(far.try_clone().unwrap(), near.try_clone().unwrap());
        Self { nxproxy, near, far }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.far.shutdown(Shutdown::Both);
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.nxproxy.kill();
        let _ = self.nxproxy.wait();
    }
}

/// One connection to the supervisor.
pub(crate) struct Caller {
    stream: UnixStream,
    decoder: Decoder,
}

impl Caller {
    pub(crate) fn new(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, decoder: Decoder::default() }
    }

    fn say(&mut self, ask: &Ask) {
        self.stream.write_all(&encode(ask)).unwrap();
    }

    fn hear(&mut self) -> (Tell, Option<OwnedFd>) {
        let mut descriptor = None;
        loop {
            if let Some(tell) = self.decoder.next_message().unwrap() {
                return (tell, descriptor);
            }
            let mut buffer = [0; 4096];
            let (read, came) = wire::descriptor::receive(&self.stream, &mut buffer).unwrap();
            assert!(read > 0, "the supervisor went away");
            self.decoder.push(&buffer[..read]);
            descriptor = came.or(descriptor);
        }
    }

    /// The answer to `ask`.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Tell {
        self.say(ask);
        loop {
            match self.hear().0 {
                Tell::Progress { .. } => {}
                answer => return answer,
            }
        }
    }

    /// The connection to `nxagent`.
    pub(crate) fn open(&mut self) -> UnixStream {
        self.say(&Ask::Open);
        match self.hear() {
            (Tell::Opened, Some(connection)) => UnixStream::from(connection),
            other => panic!("{other:?}"),
        }
    }
}

/// One who is told every change.
pub(crate) struct Follower {
    caller: Caller,
    last: Option<Session>,
}

impl Follower {
    pub(crate) fn new(socket: &Path) -> Self {
        let mut caller = Caller::new(socket);
        caller.say(&Ask::Follow);
        Self { caller, last: None }
    }

    /// The next state.
    pub(crate) fn next(&mut self) -> Session {
        match self.caller.hear().0 {
            Tell::State { session } => {
                assert_ne!(self.last, Some(session), "told twice");
                self.last = Some(session);
                session
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits for `session`.
    pub(crate) fn until(&mut self, session: Session) {
        while self.next() != session {}
    }

    /// Waits for `session` for at most this long.
    pub(crate) fn until_within(&mut self, session: Session, limit: Duration) {
        let start = Instant::now();
        self.until(session);
        assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    }
}
