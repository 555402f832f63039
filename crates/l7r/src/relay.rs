//! Carries bytes between a client's TLS stream and a desktop's unix socket.
//!
//! Nothing is parsed. A buffer is taken when a side is readable and given back when it is drained,
//! so that an idle connection holds none; a side that does not read stops the reading of the other,
//! so that a slow or endless peer makes nothing grow. Nor is a relay held by a side that takes nothing:
//! the other's end is looked for meanwhile. Each direction is a small machine:
//!
//! ```text
//!            readable               read n > 0
//!   idle ---------------> reading -------------> holding
//!    ^                       |                      |
//!    |     would block       |                      |  written to the end
//!    +-----------------------+ <--------------------+
//! ```

use std::{
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use crate::desktop::Desktop;

/// The size of a buffer, in bytes.
const BUFFER: usize = 64 * 1024;

/// How many unused buffers are kept.
const KEPT: usize = 32;

/// Buffers for all relays, and a few to spare.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; BUFFER])
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < KEPT && buffer.len() == BUFFER {
            spare.push(buffer);
        }
    }
}

/// Which side ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed, or its connection broke.
    Client,
    /// The desktop closed: the client was told by a `close_notify`.
    Desktop,
}

/// Carries bytes until one side ends; `first` are the client's that were read before. When the
/// client ends, what the desktop still says is carried for `linger` at most, and so long may a desktop
/// that takes nothing hide that.
pub(crate) async fn relay(
    client: TlsStream<TcpStream>,
    desktop: Desktop,
    first: Vec<u8>,
    pool: &Pool,
    linger: Duration,
) -> End {
    let mut both = Both { client, desktop, down_first: false, linger, stalled: None };
    let first = Held { at: 0, end: first.len(), bytes: first };
    let mut up = Way { held: Some(first), hot: true, deaf: false };
    let mut down = Way { held: None, hot: true, deaf: false };
    let end = std::future::poll_fn(|cx| both.poll(cx, &mut up, &mut down, pool)).await;
    match end {
        End::Client => {
            // The desktop learns that no more comes, and may have a last word. A client whose
            // connection broke cannot take it; then the first write ends this.
            if both.desktop.shutdown().await.is_ok() {
                let rest = std::future::poll_fn(|cx| both.poll_down(cx, &mut down, pool));
                timeout(linger, rest).await.ok();
            }
        }
        End::Desktop => {
            timeout(linger, both.client.shutdown()).await.ok();
        }
    }
    end
}

/// The two sides.
struct Both {
    client: TlsStream<TcpStream>,
    desktop: Desktop,
    /// Each goes first in turn: a flood one way uses up what a task may do at a time, and must not
    /// starve the other way.
    down_first: bool,
    linger: Duration,
    /// While the desktop takes nothing: when to look next whether the client is there still.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// One direction.
struct Way {
    held: Option<Held>,
    /// Whether the reading side may have more, as far as is known.
    hot: bool,
    /// Whether the writing side takes no more: what is read is dropped.
    deaf: bool,
}

/// Bytes read and not yet written: from `at` to `end`.
struct Held {
    bytes: Vec<u8>,
    at: usize,
    end: usize,
}

impl Both {
    /// Carries what can be carried now.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut Way,
        down: &mut Way,
        pool: &Pool,
    ) -> Poll<End> {
        self.down_first = !self.down_first;
        if self.down_first {
            if let Poll::Ready(end) = self.poll_down(cx, down, pool) {
                return Poll::Ready(end);
            }
            return self.poll_up(cx, up, pool);
        }
        if let Poll::Ready(end) = self.poll_up(cx, up, pool) {
            return Poll::Ready(end);
        }
        self.poll_down(cx, down, pool)
    }

    /// From the client to the desktop.
    fn poll_up(&mut self, cx: &mut Context<'_>, way: &mut Way, pool: &Pool) -> Poll<End> {
        loop {
            if way.deaf {
                way.drop_held(pool);
            } else {
                match way.poll_drain(cx, &mut self.desktop, pool) {
                    Poll::Pending => return self.poll_stalled(cx),
                    Poll::Ready(Ok(())) => self.stalled = None,
                    // The desktop takes no more. It may still speak, and the way down reads its end;
                    // but it may also be silent for ever, so the client's end must be seen here.
                    Poll::Ready(Err(_)) => {
                        way.deaf = true;
                        continue;
                    }
                }
            }
            if !way.hot {
                let Ok(()) = ready!(self.client.get_ref().0.poll_read_ready(cx)) else {
                    return Poll::Ready(End::Client);
                };
            }
            match way.poll_fill(cx, &mut self.client, pool) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(End::Client),
            }
        }
    }

    /// The desktop takes nothing, so the client is not read; its end is looked for now and then.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let linger = self.linger;
        let look = self.stalled.get_or_insert_with(|| Box::pin(sleep(linger)));
        while look.as_mut().poll(cx).is_ready() {
            if hung_up(self.client.get_ref().0) {
                return Poll::Ready(End::Client);
            }
            look.set(sleep(linger));
        }
        Poll::Pending
    }

    /// From the desktop to the client.
    fn poll_down(&mut self, cx: &mut Context<'_>, way: &mut Way, pool: &Pool) -> Poll<End> {
        loop {
            let Ok(()) = ready!(way.poll_drain(cx, &mut self.client, pool)) else {
                return Poll::Ready(End::Client);
            };
            if !way.hot {
                match self.desktop.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Desktop),
                    // TLS keeps what the network did not take at once.
                    Poll::Pending => {
                        return match ready!(Pin::new(&mut self.client).poll_flush(cx)) {
                            Ok(()) => Poll::Pending,
                            Err(_) => Poll::Ready(End::Client),
                        };
                    }
                }
            }
            match way.poll_fill(cx, &mut self.desktop, pool) {
                // Where there is nothing to read there may be something to flush: once more round.
                Poll::Pending | Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(End::Desktop),
            }
        }
    }
}

/// Whether the client has closed its end or its connection broke, whatever is left to read.
fn hung_up(client: &TcpStream) -> bool {
    let mut asked = [PollFd::new(client, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An error is none that the next read would not tell.
    poll(&mut asked, Some(&now)).is_ok_and(|found| found > 0)
}

impl Way {
    /// Reads into a buffer of the pool; false at the end of the stream. When there is nothing to
    /// read, the buffer goes back at once.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        pool: &Pool,
    ) -> Poll<io::Result<bool>> {
        let mut bytes = pool.take();
        let mut space = ReadBuf::new(&mut bytes);
        let read = Pin::new(from).poll_read(cx, &mut space);
        let end = space.filled().len();
        match read {
            Poll::Ready(Ok(())) if end > 0 => {
                self.hot = true;
                self.held = Some(Held { bytes, at: 0, end });
                Poll::Ready(Ok(true))
            }
            Poll::Pending => {
                self.hot = false;
                pool.give_back(bytes);
                Poll::Pending
            }
            Poll::Ready(result) => {
                pool.give_back(bytes);
                Poll::Ready(result.map(|()| false))
            }
        }
    }

    /// Gives the buffer back, whatever is in it.
    fn drop_held(&mut self, pool: &Pool) {
        if let Some(held) = self.held.take() {
            pool.give_back(held.bytes);
        }
    }

    /// Writes what is held.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        pool: &Pool,
    ) -> Poll<io::Result<()>> {
        while let Some(held) = &mut self.held {
            let rest = held.bytes.get(held.at..held.end).unwrap_or_default();
            if rest.is_empty() {
                self.drop_held(pool);
                break;
            }
            match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => held.at += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}
