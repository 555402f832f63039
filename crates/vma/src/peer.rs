//! One end of a conversation in lines, with descriptors beside them.

use std::{
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{RecvFlags, recv};
use wire::frame::{Decoder, FrameError, encode};

/// A conversation that cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The socket failed, or a deadline passed.
    #[error("the conversation broke off")]
    Broken(#[from] io::Error),
    /// The peer said something else than a message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer went away in the middle.
    #[error("the other side went away")]
    Gone,
}

/// A stream socket on which both sides speak in [`wire::frame`]s.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    /// Speaks on `stream`; a peer that takes nothing for 10 s is given up.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// How long [`Self::receive`] waits; forever if `None`.
    pub(crate) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(patience)
    }

    /// The next message and the descriptor that came with it, if any; nothing when the peer closed
    /// between messages.
    pub(crate) fn receive<T: serde::de::DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Option<OwnedFd>)>, PeerError> {
        let mut descriptor = None;
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some((message, descriptor)));
            }
            let mut buffer = [0; 4096];
            let (read, came) = wire::descriptor::receive(&self.stream, &mut buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.decoder.push(buffer.get(..read).unwrap_or_default());
            descriptor = came.or(descriptor);
        }
    }

    /// Says `message`.
    pub(crate) fn send<T: serde::Serialize>(&mut self, message: &T) -> Result<(), PeerError> {
        Ok(self.stream.write_all(&encode(message))?)
    }

    /// Says `message` and gives `descriptor` with it.
    pub(crate) fn send_with<T: serde::Serialize>(
        &mut self,
        message: &T,
        descriptor: BorrowedFd<'_>,
    ) -> Result<(), PeerError> {
        Ok(wire::descriptor::send(&self.stream, &encode(message), descriptor)?)
    }

    /// Whether the peer has closed, as far as can be told without waiting.
    pub(crate) fn has_closed(&self) -> bool {
        let mut byte = [0_u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.stream, &mut byte, flags) {
            Ok((_, read)) => read == 0,
            Err(error) => error != rustix::io::Errno::AGAIN && error != rustix::io::Errno::INTR,
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
