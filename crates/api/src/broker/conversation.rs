//! Messages to and from the router on one connection.

use std::io;

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use wire::frame::{Decoder, FrameError, encode};

/// One connection of the router.
#[derive(Debug)]
pub(super) struct Conversation {
    stream: UnixStream,
    decoder: Decoder,
}

/// Why a conversation is over. That the router hangs up is no error: its client left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Gone {
    #[error("the router hung up")]
    HungUp,
    #[error("the router said nothing")]
    Silent,
    #[error("the connection to the router broke")]
    Broken(#[from] io::Error),
    #[error("the router was not understood")]
    Garbled(#[from] FrameError),
}

impl Conversation {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The next message. May be dropped half-way without losing anything.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, Gone> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await? {
                0 => return Err(Gone::HungUp),
                read => self.decoder.push(buffer.get(..read).unwrap_or_default()),
            }
        }
    }

    pub(super) async fn say<T: Serialize>(&mut self, message: &T) -> Result<(), Gone> {
        Ok(self.stream.write_all(&encode(message)).await?)
    }

    /// Returns when the router hangs up, or says something while it is its turn to wait.
    pub(super) async fn hung_up(&mut self) -> Gone {
        match self.hear::<serde_json::Value>().await {
            Ok(_) => Gone::Silent,
            Err(gone) => gone,
        }
    }
}
