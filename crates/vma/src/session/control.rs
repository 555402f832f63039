//! The supervisor's control socket: who is connected, what they ask, what they are told.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags},
    net::{SendFlags, send},
};
use wire::{
    agent::{Ask, Session, Tell},
    frame::{Decoder, encode},
};

/// More connections than this are turned away.
const CONNECTIONS_MAX: usize = 64;

/// The socket and its connections, each with a number that is never used again.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    /// Whether it wants to be told every change, and what it was told last.
    follows: bool,
    told: Option<Session>,
}

impl Control {
    /// Listens at `path`, where an earlier supervisor may have left its socket.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: BTreeMap::new(), next: 0 })
    }

    /// What to wait for.
    pub(crate) fn waits(&self) -> Vec<PollFd<'_>> {
        let streams = self.connections.values().map(|connection| connection.stream.as_fd());
        std::iter::once(self.listener.as_fd())
            .chain(streams)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect()
    }

    /// Takes new connections and whole questions; forgets who has gone or does not speak as agreed.
    pub(crate) fn asks(&mut self) -> Vec<(u64, Ask)> {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() < CONNECTIONS_MAX && stream.set_nonblocking(true).is_ok() {
                let connection =
                    Connection { stream, decoder: Decoder::default(), follows: false, told: None };
                self.connections.insert(self.next, connection);
                self.next += 1;
            }
        }
        let mut asks = Vec::new();
        self.connections.retain(|number, connection| {
            let stays = connection.read();
            loop {
                match connection.decoder.next_message() {
                    Ok(Some(ask)) => asks.push((*number, ask)),
                    Ok(None) => return stays,
                    Err(_) => return false,
                }
            }
        });
        asks
    }

    /// Whether this connection is there still.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.connections.contains_key(&number)
    }

    /// Tells one.
    pub(crate) fn tell(&mut self, number: u64, tell: &Tell) {
        if let Some(connection) = self.connections.get(&number)
            && !connection.send(tell)
        {
            self.connections.remove(&number);
        }
    }

    /// Tells one and gives a descriptor with it.
    pub(crate) fn give(&mut self, number: u64, tell: &Tell, descriptor: BorrowedFd<'_>) {
        if let Some(connection) = self.connections.get(&number) {
            // Who has gone needs nothing.
            let _ = wire::descriptor::send(&connection.stream, &encode(tell), descriptor);
        }
    }

    /// From now on this one is told every change.
    pub(crate) fn follow(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.follows = true;
        }
    }

    /// Tells the followers who do not know it.
    pub(crate) fn publish(&mut self, session: Session) {
        self.connections.retain(|_, connection| {
            if !connection.follows || connection.told == Some(session) {
                return true;
            }
            connection.told = Some(session);
            connection.send(&Tell::State { session })
        });
    }
}

impl Connection {
    /// Reads what is there. Says whether more may come.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // A peer that never stops must not keep us here; the rest is read the next time.
        for _ in 0..32 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(read) => self.decoder.push(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Says whether it went out. Messages are short: who has no room for one reads nothing.
    fn send(&self, tell: &Tell) -> bool {
        let line = encode(tell);
        send(&self.stream, &line, SendFlags::NOSIGNAL).is_ok_and(|sent| sent == line.len())
    }
}
