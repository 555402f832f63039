//! The client's half: writes requests, reads answers.

use std::fmt::{self, Write as _};

use super::{
    BODY_MAX, HEAD_MAX, INFO, Login, SLAVE_KEY, headers::Headers, lines::Lines, target::encode,
};

/// A request's head: `GET`, the path as given, the pairs encoded. `upgrade` asks to leave HTTP for
/// the QVD protocol.
pub fn write_request(
    path: &str,
    query: &[(&str, &str)],
    host: &str,
    login: Option<&Login>,
    upgrade: bool,
) -> Vec<u8> {
    let pairs: Vec<String> =
        query.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    let mut head = format!("GET {path}{mark}{} HTTP/1.1\r\nHost: {host}\r\n", pairs.join("&"));
    if let Some(login) = login {
        let _ = write!(head, "Authorization: {}\r\n", login.header());
    }
    head.push_str(concat!("User-Agent: qvd-client/", env!("CARGO_PKG_VERSION"), "\r\n"));
    head.push_str(if upgrade { "Connection: Upgrade\r\nUpgrade: QVD/1.0\r\n\r\n" } else { "\r\n" });
    head.into_bytes()
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `102`: wait; this is what happens.
    Processing(String),
    /// `101`: from here the stream is the desktop's.
    Switched {
        /// The connection's name.
        slave_key: String,
    },
    /// The answer.
    Answer(Answer),
}

/// An answer with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its header lines.
    pub headers: Headers,
    /// Its body; empty where no `Content-Length` says otherwise.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text for a person.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// Bytes that are no answer of a server of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A head beyond [`HEAD_MAX`].
    #[error("the server sent a head longer than {HEAD_MAX} bytes")]
    HeadTooLong,
    /// A body beyond [`BODY_MAX`].
    #[error("the server sent a body longer than {BODY_MAX} bytes")]
    BodyTooLong,
    /// Something else.
    #[error("the server does not speak the QVD protocol")]
    Malformed,
}

/// Reads answers from what a server sends.
#[derive(Default)]
pub struct ResponseReader {
    lines: Lines,
    /// A head whose body has not arrived, and the length of that.
    pending: Option<(u16, Headers, usize)>,
}

impl fmt::Debug for ResponseReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseReader")
            .field("held", &self.lines.rest().len())
            .finish_non_exhaustive()
    }
}

impl ResponseReader {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// What the server says next, if it has arrived. After [`Event::Switched`] no more is read.
    pub fn poll(&mut self) -> Result<Option<Event>, ResponseError> {
        if self.pending.is_none() {
            let Some(lines) = self.lines.next().map_err(|_| ResponseError::HeadTooLong)? else {
                return Ok(None);
            };
            let mut lines = lines.iter().map(Vec::as_slice);
            let status = lines.next().and_then(status_line).ok_or(ResponseError::Malformed)?;
            let headers = Headers::parse(lines).map_err(|_| ResponseError::Malformed)?;
            let header = |name| headers.get(name).unwrap_or_default().to_owned();
            match status {
                101 => return Ok(Some(Event::Switched { slave_key: header(SLAVE_KEY) })),
                100..=199 => return Ok(Some(Event::Processing(header(INFO)))),
                _ => self.pending = Some(expect_body(status, headers)?),
            }
        }
        match self.pending.take() {
            Some((status, headers, length)) if self.lines.rest().len() >= length => {
                let body = self.lines.take_bytes(length);
                Ok(Some(Event::Answer(Answer { status, headers, body })))
            }
            waiting => {
                self.pending = waiting;
                Ok(None)
            }
        }
    }

    /// What arrived behind the last event: after [`Event::Switched`] the first of the stream.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.lines.take_bytes(usize::MAX)
    }
}

fn status_line(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.split(' ').next()?;
    code.parse().ok().filter(|status| code.len() == 3 && (100..=599).contains(status))
}

fn expect_body(status: u16, headers: Headers) -> Result<(u16, Headers, usize), ResponseError> {
    let length = match headers.get("Content-Length") {
        None => 0,
        Some(text) => text.parse().map_err(|_| ResponseError::Malformed)?,
    };
    if length > BODY_MAX {
        return Err(ResponseError::BodyTooLong);
    }
    Ok((status, headers, length))
}
