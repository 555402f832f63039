//! The conversation with the api.

use std::{io, path::Path};

use tokio::{io::AsyncWriteExt, net::UnixStream};
use wire::{
    broker::Request,
    frame::{Decoder, FrameError, encode},
};

/// One question to the api and what comes of it.
#[derive(Debug)]
pub(crate) struct Asked {
    stream: UnixStream,
    decoder: Decoder,
}

/// The api does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It is away, or went away.
    #[error("the administration service does not answer")]
    Away(#[from] io::Error),
    /// It closed before its answer was complete.
    #[error("the administration service closed the conversation")]
    Closed,
    /// It says what is not understood.
    #[error(transparent)]
    Malformed(#[from] FrameError),
}

impl Asked {
    /// Asks.
    pub(crate) async fn ask(socket: &Path, question: &Request) -> Result<Self, AskError> {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&encode(question)).await?;
        Ok(Self { stream, decoder: Decoder::default() })
    }

    /// What the api says next. May be dropped and called again: nothing is lost.
    pub(crate) async fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, AskError> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            self.stream.readable().await?;
            let mut bytes = [0; 2048];
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Err(AskError::Closed),
                Ok(read) => self.decoder.push(bytes.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says something more.
    pub(crate) async fn say(&mut self, report: &wire::broker::Report) -> Result<(), AskError> {
        Ok(self.stream.write_all(&encode(report)).await?)
    }
}
