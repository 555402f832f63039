//! Reads requests, tolerantly.

use std::{collections::BTreeMap, fmt};

use super::{
    Authorization, HEAD_MAX, HEADERS_MAX,
    headers::{BadHeaders, Headers, is_token},
    lines::Lines,
    target,
};

/// A request's head.
///
/// Its `Debug` form shows method and path only: the rest may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, mostly.
    pub method: String,
    /// As it came, spaces and all.
    pub target: Vec<u8>,
    /// The target's path, decoded.
    pub path: String,
    /// The target's query, decoded.
    pub query: BTreeMap<String, String>,
    /// The header lines.
    pub headers: Headers,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Who it says it is from.
    pub fn authorization(&self) -> Authorization {
        Authorization::parse(self.headers.get("Authorization"))
    }

    /// Whether it asks to leave HTTP for the QVD protocol.
    pub fn upgrades(&self) -> bool {
        self.headers.lists("Connection", "Upgrade") && self.headers.lists("Upgrade", "QVD/1.0")
    }

    /// Whether the client wants no more than this answer.
    pub fn closes(&self) -> bool {
        self.headers.lists("Connection", "close")
    }

    /// Whether a body follows. No request of the protocol has one, and where it would end is open
    /// to dispute, so that the connection is of no more use.
    pub fn has_body(&self) -> bool {
        self.headers.get("Transfer-Encoding").is_some()
            || self.headers.all("Content-Length").any(|length| length != "0")
    }
}

/// Bytes that are no request. The connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Beyond [`HEAD_MAX`] or [`HEADERS_MAX`].
    #[error("the head is longer than {HEAD_MAX} bytes or {HEADERS_MAX} headers")]
    TooLong,
    /// The first line is no request line.
    #[error("the request line is not understood")]
    BadLine,
    /// A header line is none.
    #[error("a header line is not understood")]
    BadHeader,
    /// Not HTTP/1.1.
    #[error("only HTTP/1.1 is spoken here")]
    BadVersion,
}

impl RequestError {
    /// The status to answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLong => 431,
            Self::BadLine | Self::BadHeader => 400,
            Self::BadVersion => 505,
        }
    }
}

/// Reads one request after another from what a client sends.
#[derive(Default)]
pub struct RequestReader {
    lines: Lines,
}

impl fmt::Debug for RequestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestReader").field("held", &self.lines.rest().len()).finish()
    }
}

impl RequestReader {
    /// Takes what arrived. The caller reads no more than a few kilobytes between two calls of
    /// [`Self::poll`]: what follows a head is held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// The next whole request, if it has arrived.
    pub fn poll(&mut self) -> Result<Option<Request>, RequestError> {
        let Some(lines) = self.lines.next().map_err(|_| RequestError::TooLong)? else {
            return Ok(None);
        };
        let mut lines = lines.iter().map(Vec::as_slice);
        let line = lines.next().ok_or(RequestError::BadLine)?;
        let (method, target) = request_line(line)?;
        let headers = Headers::parse(lines).map_err(|error| match error {
            BadHeaders::TooMany => RequestError::TooLong,
            BadHeaders::Malformed => RequestError::BadHeader,
        })?;
        Ok(Some(Request {
            method: method.to_owned(),
            path: target::path(target),
            query: target::query(target),
            target: target.to_vec(),
            headers,
        }))
    }

    /// Whether a request, or what follows the last one, has begun to arrive. Blank lines are dropped:
    /// a client of the family ends its heads with one line end more than it should.
    pub fn has_begun(&mut self) -> bool {
        self.lines.skip_blank();
        !self.lines.rest().is_empty()
    }

    /// What arrived behind the last request, without blank lines before it: after a `101` it is the
    /// first of the stream, which begins with none.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.lines.skip_blank();
        self.lines.take_bytes(usize::MAX)
    }
}

/// Method and target. The target goes up to the last blank, as clients leave blanks in it.
fn request_line(line: &[u8]) -> Result<(&str, &[u8]), RequestError> {
    if line.iter().any(u8::is_ascii_control) {
        return Err(RequestError::BadLine);
    }
    let first = line.iter().position(|byte| *byte == b' ').ok_or(RequestError::BadLine)?;
    let (method, rest) = line.split_at(first);
    let rest = rest.trim_ascii();
    if method.len() > 32 || !method.iter().copied().all(is_token) || !rest.starts_with(b"/") {
        return Err(RequestError::BadLine);
    }
    let method = std::str::from_utf8(method).map_err(|_| RequestError::BadLine)?;
    let last = rest.iter().rposition(|byte| *byte == b' ').ok_or(RequestError::BadVersion)?;
    match rest.split_at(last) {
        (target, b" HTTP/1.1") => Ok((method, target.trim_ascii_end())),
        _ => Err(RequestError::BadVersion),
    }
}
