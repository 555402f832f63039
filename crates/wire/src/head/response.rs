//! Writes answers, exactly.

use std::fmt::Write as _;

use serde::Serialize;

use super::{INFO, SLAVE_KEY};
use crate::broker::VmLine;

/// The longest text of a `102`, in characters.
const INFO_MAX: usize = 240;

/// An answer with a body.
///
/// After the head of an error the caller flushes before it sends the body: one client of the family
/// hangs on an error whose head and body come in one TLS record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    extra: Vec<(&'static str, String)>,
    content_type: &'static str,
    body: Vec<u8>,
}

/// A VM in a list, as clients of the family parse it: one of them dies of a JSON boolean.
#[derive(Serialize)]
struct ListedVm<'a> {
    id: i64,
    name: &'a str,
    state: &'a str,
    blocked: u8,
    is_application: u8,
}

impl Response {
    /// Plain text, ended by a line end where it has none. The text is not empty: a client waits for
    /// ever for an empty body.
    pub fn text(status: u16, text: &str) -> Self {
        let text = text.trim_end();
        let text = if text.is_empty() { reason(status) } else { text };
        let body = format!("{text}\r\n").into_bytes();
        let extra = Vec::new();
        Self { status, extra, content_type: "text/plain", body }
    }

    /// Who are you? A `401` with the challenge that clients expect.
    pub fn unauthorized(text: &str) -> Self {
        let mut response = Self::text(401, text);
        response.extra.push(("WWW-Authenticate", "Basic realm=\"QVD\"".to_owned()));
        response
    }

    /// A user's VMs.
    pub fn vms(vms: &[VmLine]) -> Self {
        let listed: Vec<ListedVm<'_>> = vms
            .iter()
            .map(|vm| ListedVm {
                id: vm.id,
                name: &vm.name,
                state: &vm.state,
                blocked: u8::from(vm.blocked),
                is_application: 0,
            })
            .collect();
        let json = serde_json::to_string(&listed).expect("numbers and strings are always JSON");
        let body = escape(&json).into_bytes();
        Self { status: 200, extra: Vec::new(), content_type: "application/json", body }
    }

    /// The same, with the seconds after which it makes sense to ask again.
    #[must_use]
    pub fn retry_after(mut self, seconds: Option<u32>) -> Self {
        self.extra.extend(seconds.map(|seconds| ("Retry-After", seconds.to_string())));
        self
    }

    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The head, with the empty line that ends it.
    pub fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.extra {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let (kind, length) = (self.content_type, self.body.len());
        let _ = write!(head, "Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        head.into_bytes()
    }

    /// The body, never empty.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A `102` that tells what happens. The text is made fit for a header: one line of ASCII.
pub fn processing(text: &str) -> Vec<u8> {
    let clean: String = text
        .trim()
        .chars()
        .take(INFO_MAX)
        .map(|c| match c {
            c if c.is_control() => ' ',
            c if c.is_ascii() => c,
            _ => '?',
        })
        .collect();
    format!("HTTP/1.1 102 Processing\r\n{INFO}: {clean}\r\n\r\n").into_bytes()
}

/// The `101`, in one piece: one client of the family looks for it in the bytes of a single read.
/// The key is of letters and digits; anything else in it is left out.
pub fn switching(slave_key: &str) -> Vec<u8> {
    let key: String = slave_key.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("HTTP/1.1 101 Switching Protocols\r\n{SLAVE_KEY}: {key}\r\n\r\n").into_bytes()
}

/// The reason phrase of a status.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        102 => "Processing",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        422 => "Unprocessable Entity",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}

/// JSON with everything beyond ASCII escaped; outside strings JSON has nothing beyond ASCII.
fn escape(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}
