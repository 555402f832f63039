//! One client: its requests in, its answers out.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use wire::head::{Request, RequestError, RequestReader, Response};

use crate::{
    Limits,
    seats::{Logins, Seat, StrangersSeat},
};

/// How much a client may send while it waits for an answer; it is not read further then.
const EARLY_MAX: usize = 16 * 1024;

/// What a client that has not said who it is takes up.
#[derive(Debug)]
pub(crate) struct Stranger {
    _seat: StrangersSeat,
    _permit: OwnedSemaphorePermit,
}

impl Stranger {
    /// A seat of its address, and a place among all strangers.
    pub(crate) fn new(seat: StrangersSeat, permit: OwnedSemaphorePermit) -> Self {
        Self { _seat: seat, _permit: permit }
    }
}

/// Whom a connection counts for.
#[derive(Debug)]
enum Standing {
    Stranger { _place: Stranger },
    Known { _seat: Seat<String> },
}

/// A client's connection, and what it has said so far.
#[derive(Debug)]
pub(crate) struct Visitor {
    stream: TlsStream<TcpStream>,
    reader: RequestReader,
    early: usize,
    pub(crate) address: IpAddr,
    standing: Standing,
    head: Duration,
    idle: Duration,
}

/// Why a visit ends without an answer. Nothing of this is an error of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Leave {
    /// The client closed, or its connection broke.
    #[error("the client left")]
    Gone,
    /// It did not send or take in time.
    #[error("the client was too slow")]
    Slow,
    /// It sent what is no request.
    #[error(transparent)]
    Nonsense(#[from] RequestError),
}

impl From<io::Error> for Leave {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Visitor {
    /// A stranger.
    pub(crate) fn new(
        stream: TlsStream<TcpStream>,
        address: IpAddr,
        place: Stranger,
        limits: &Limits,
    ) -> Self {
        let reader = RequestReader::default();
        let (head, idle) = (limits.head, limits.idle);
        let standing = Standing::Stranger { _place: place };
        Self { stream, reader, early: 0, address, standing, head, idle }
    }

    /// It has said who it is: it no longer counts as a stranger, unless that login has too many
    /// connections already.
    pub(crate) fn known(&mut self, login: &str, logins: &Logins) {
        if let Standing::Stranger { .. } = self.standing
            && let Some(seat) = logins.take(login)
        {
            self.standing = Standing::Known { _seat: seat };
        }
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Result<Request, Leave> {
        self.early = 0;
        let head = self.head;
        if let Some(request) = self.reader.poll()? {
            return Ok(request);
        }
        if !self.reader.has_begun() {
            let patience = match self.standing {
                Standing::Stranger { .. } => self.head,
                Standing::Known { .. } => self.idle,
            };
            timeout(patience, self.read()).await.map_err(|_| Leave::Slow)??;
        }
        let whole = async {
            loop {
                match self.reader.poll()? {
                    Some(request) => return Ok(request),
                    None => self.read().await?,
                }
            }
        };
        timeout(head, whole).await.map_err(|_| Leave::Slow)?
    }

    /// Waits for the client to leave. What it sends meanwhile is kept. May be dropped and called
    /// again.
    pub(crate) async fn gone(&mut self) -> Leave {
        while self.early < EARLY_MAX {
            if let Err(leave) = self.read().await {
                return leave;
            }
        }
        std::future::pending().await
    }

    /// Sends in one TLS record.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Leave> {
        let send = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.head, send).await.map_err(|_| Leave::Slow)??)
    }

    /// Sends an answer: head and body in a TLS record each.
    pub(crate) async fn answer(&mut self, response: &Response) -> Result<(), Leave> {
        self.send(&response.head()).await?;
        self.send(response.body()).await
    }

    /// Says good-bye.
    pub(crate) async fn close(mut self) {
        // A client that has gone already cannot hear it.
        timeout(self.head, self.stream.shutdown()).await.ok();
    }

    /// The stream, and what of it has been read already.
    pub(crate) fn into_stream(self) -> (TlsStream<TcpStream>, Vec<u8>) {
        (self.stream, self.reader.into_rest())
    }

    /// Whether the client's bytes behind its request are there.
    pub(crate) fn has_more(&mut self) -> bool {
        self.reader.has_begun()
    }

    /// Reads once. The buffer is on the stack only while there is something to read: a connection
    /// may be idle for hours.
    pub(crate) async fn read(&mut self) -> Result<(), Leave> {
        std::future::poll_fn(|cx| {
            let mut bytes = [0; 4096];
            let mut space = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
            if space.filled().is_empty() {
                return Poll::Ready(Err(Leave::Gone));
            }
            self.early += space.filled().len();
            self.reader.push(space.filled());
            Poll::Ready(Ok(()))
        })
        .await
    }
}
