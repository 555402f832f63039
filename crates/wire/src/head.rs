//! The QVD protocol's heads: a small dialect of HTTP/1.1, both halves, without I/O.
//!
//! The clients of the family are not quite HTTP clients, and strict servers fail them:
//!
//! | what they do or need | where it is met |
//! |---|---|
//! | lines ended by a bare LF, blank lines before and behind a request, no `Host` | [`RequestReader`] |
//! | raw spaces and UTF-8 in the target, `/path?` with nothing behind | [`RequestReader`] |
//! | `102 Processing` heads with `X-QVD-VM-Info` before the answer | [`processing`] |
//! | header names in exactly this case: `Content-Length`, `X-QVD-Slave-Key`, … | [`Response`] |
//! | the `101` unsplit in one TLS record | [`switching`] returns one buffer |
//! | an error's head and body in two TLS records | [`Response::head`] and [`Response::body`] |
//! | `blocked` as the integer 0 or 1, JSON in ASCII | [`Response::vms`] |
//!
//! Nothing here looks at what a path means. The reader of answers, for our own client and for tests,
//! is [`ResponseReader`]; requests are written by [`write_request`].

mod authorization;
mod client;
mod headers;
mod lines;
mod request;
mod response;
mod target;

pub use authorization::{Authorization, Login};
pub use client::{Answer, Event, ResponseError, ResponseReader, write_request};
pub use headers::Headers;
pub use request::{Request, RequestError, RequestReader};
pub use response::{Response, processing, switching};

/// The longest head taken, in bytes, with all its line ends.
pub const HEAD_MAX: usize = 16 * 1024;

/// The most header lines taken in one head.
pub const HEADERS_MAX: usize = 100;

/// The longest body of an answer a client takes, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// The header of a `102` that tells what happens.
pub const INFO: &str = "X-QVD-VM-Info";

/// The header of the `101` that names the connection.
pub const SLAVE_KEY: &str = "X-QVD-Slave-Key";
