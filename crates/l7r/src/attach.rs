//! The conversation with hkd, which ends with the desktop's socket.

use std::{io, os::fd::OwnedFd, path::Path};

use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
};
use wire::{
    attach::{FromHkd, FromRouter},
    descriptor,
    discard::hang_up,
    frame::{Decoder, FrameError, encode},
};

use crate::desktop::Desktop;

/// hkd, being asked for one desktop.
#[derive(Debug)]
pub(crate) struct Hkd {
    stream: UnixStream,
    decoder: Decoder,
    descriptor: Option<OwnedFd>,
}

/// There is no desktop to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// hkd is away, or went away.
    #[error("the service that runs the desktops does not answer")]
    Away(#[from] io::Error),
    /// hkd closed the conversation.
    #[error("the service that runs the desktops closed the conversation")]
    Closed,
    /// hkd says why not.
    #[error("{0}")]
    Failed(String),
    /// It says what is not understood.
    #[error(transparent)]
    Malformed(#[from] FrameError),
    /// `Opened` came without a descriptor, or out of turn.
    #[error("the service that runs the desktops did not hand over the desktop")]
    NoDescriptor,
    /// The descriptor is something else.
    #[error("what was handed over as a desktop is no stream unix socket")]
    NotASocket,
}

impl Hkd {
    /// Asks for the desktop.
    pub(crate) async fn attach(socket: &Path, wish: &FromRouter) -> Result<Self, AttachError> {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&encode(wish)).await?;
        Ok(Self { stream, decoder: Decoder::default(), descriptor: None })
    }

    /// What hkd says next. May be dropped and called again: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<FromHkd, AttachError> {
        loop {
            match self.decoder.next_message()? {
                Some(FromHkd::Failed { text }) => return Err(AttachError::Failed(text)),
                Some(message) => return Ok(message),
                None => {}
            }
            self.stream.readable().await?;
            // Every read looks for a descriptor: an ordinary one would lose it.
            let mut bytes = [0; 2048];
            let receive = || descriptor::receive(&self.stream, &mut bytes);
            let (read, descriptor) = match self.stream.try_io(Interest::READABLE, receive) {
                Ok((0, _)) => return Err(AttachError::Closed),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            self.decoder.push(bytes.get(..read).unwrap_or_default());
            if descriptor.is_some() {
                self.descriptor = descriptor;
            }
        }
    }

    /// Waits until hkd has no desktop any more. May be dropped and called again.
    pub(crate) async fn failed(&mut self) -> AttachError {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// The client's first bytes are here: opens the desktop's one connection. Where another client
    /// took the session in between, hkd brings it up again and waits to be asked again.
    pub(crate) async fn open(mut self) -> Result<Desktop, AttachError> {
        self.stream.write_all(&encode(&FromRouter::Open)).await?;
        loop {
            match self.next().await? {
                FromHkd::Progress { .. } => {}
                FromHkd::Listening => self.stream.write_all(&encode(&FromRouter::Open)).await?,
                FromHkd::Opened => {
                    let descriptor = self.descriptor.take().ok_or(AttachError::NoDescriptor)?;
                    return Desktop::new(descriptor)?.ok_or(AttachError::NotASocket);
                }
                FromHkd::Failed { .. } => return Err(AttachError::NoDescriptor),
            }
        }
    }
}

impl Drop for Hkd {
    fn drop(&mut self) {
        if let Some(desktop) = self.descriptor.take() {
            hang_up(&desktop);
        }
    }
}
