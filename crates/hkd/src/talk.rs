//! hkd's half of the conversation with the agent in a VM.
//!
//! Root in the VM may have replaced the agent: lines are bounded, counted and waited for with a
//! deadline, and an answer is believed only about that VM. What it says for people is one short line. A
//! descriptor is taken where it was asked for, one at a time; any other ends the conversation.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
    time::{Instant, timeout_at},
};
use wire::{
    agent::{Ask, Tell},
    descriptor,
    discard::{discard, hang_up},
    frame::{self, Decoder, FrameError},
};

/// How many lines an agent may say for one question.
const LINES_MAX: usize = 1000;

/// Why an agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// Nobody is there, or it hung up.
    #[error("the agent hung up: {0}")]
    Gone(#[from] io::Error),
    /// It took too long.
    #[error("the agent did not answer within {0:?}")]
    Slow(Duration),
    /// It said something else.
    #[error("the agent does not keep to what was agreed")]
    Foreign(#[source] Option<FrameError>),
    /// It said no.
    #[error("{text}")]
    Refused {
        /// One of `wire::agent::failure`.
        code: String,
        /// A sentence.
        text: String,
    },
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    /// Whether one may come with the answer.
    wants_descriptor: bool,
    descriptor: Option<OwnedFd>,
    lines: usize,
}

impl Talk {
    /// Connects to the agent that listens on a socket.
    pub async fn connect(socket: &Path) -> Result<Self, TalkError> {
        let stream = UnixStream::connect(socket).await?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            wants_descriptor: false,
            descriptor: None,
            lines: 0,
        })
    }

    /// Asks, and waits for the first answer.
    pub async fn ask(&mut self, ask: &Ask, within: Duration) -> Result<Tell, TalkError> {
        let until = Instant::now() + within;
        self.lines = 0;
        self.wants_descriptor = matches!(ask, Ask::Open);
        let line = frame::encode(ask);
        let write = self.stream.write_all(&line);
        timeout_at(until, write).await.map_err(|_| TalkError::Slow(within))??;
        self.hear(within).await
    }

    /// Waits for one more answer.
    pub async fn hear(&mut self, within: Duration) -> Result<Tell, TalkError> {
        let until = Instant::now() + within;
        timeout_at(until, self.next()).await.map_err(|_| TalkError::Slow(within))?
    }

    /// Waits for one more answer, as long as it takes.
    pub async fn next(&mut self) -> Result<Tell, TalkError> {
        self.lines += 1;
        if self.lines > LINES_MAX {
            return Err(TalkError::Foreign(None));
        }
        loop {
            match self.decoder.next_message::<Tell>() {
                Ok(Some(Tell::Failed { code, text })) => {
                    return Err(TalkError::Refused { code: short(&code), text: short(&text) });
                }
                Ok(Some(Tell::Progress { text })) => {
                    return Ok(Tell::Progress { text: short(&text) });
                }
                Ok(Some(told)) => return Ok(told),
                Ok(None) => {}
                Err(error) => return Err(TalkError::Foreign(Some(error))),
            }
            let mut buffer = [0; 4096];
            let stream = &self.stream;
            let (read, descriptors) = stream
                .async_io(Interest::READABLE, || descriptor::receive_all(stream, &mut buffer))
                .await?;
            self.keep(descriptors)?;
            if read == 0 {
                return Err(TalkError::Gone(io::ErrorKind::UnexpectedEof.into()));
            }
            self.decoder.push(buffer.get(..read).unwrap_or_default());
        }
    }

    /// Keeps the one descriptor that was asked for.
    fn keep(&mut self, descriptors: Vec<OwnedFd>) -> Result<(), TalkError> {
        let most = usize::from(self.wants_descriptor && self.descriptor.is_none());
        if descriptors.len() > most {
            discard(descriptors);
            return Err(TalkError::Foreign(None));
        }
        self.descriptor = self.descriptor.take().or_else(|| descriptors.into_iter().next());
        Ok(())
    }

    /// Whether the other end is closed: the agent ended, and everything in its container with it.
    pub fn hung_up(&self) -> bool {
        let mut asked = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An error is none that the next line read would not tell.
        poll(&mut asked, Some(&now)).is_ok_and(|found| found > 0)
    }

    /// Lets an agent that is followed speak on: the count of its lines begins anew. Called at most
    /// once in a while, which bounds the rate.
    pub fn forgive(&mut self) {
        self.lines = 0;
    }

    /// The descriptor that came with an answer.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        hang_up(&self.stream);
        discard(self.descriptor.take().into_iter().collect());
    }
}

/// What a desktop says is shown to people: one line, and not a long one.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests;
