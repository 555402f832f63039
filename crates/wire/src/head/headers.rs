//! Header lines, found by name in any case.

use std::fmt;

use super::HEADERS_MAX;

/// The header lines of a head, in the order they came.
///
/// Its `Debug` form shows names only: values carry passwords and keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

/// Why lines are not headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeaders {
    /// More than [`HEADERS_MAX`].
    TooMany,
    /// No `Name: value`, or control characters.
    Malformed,
}

impl Headers {
    /// The value of the first header of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all headers of that name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether a header of that name lists this token, as in `Connection: keep-alive, Upgrade`.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|have| have.trim().eq_ignore_ascii_case(token))
    }

    /// From lines without their ends. A line that begins with a blank goes on from the one before.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, BadHeaders> {
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                return Err(BadHeaders::Malformed);
            }
            let line = String::from_utf8_lossy(line);
            if line.starts_with([' ', '\t']) {
                let (_, value) = headers.last_mut().ok_or(BadHeaders::Malformed)?;
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            if headers.len() == HEADERS_MAX {
                return Err(BadHeaders::TooMany);
            }
            let (name, value) = line.split_once(':').ok_or(BadHeaders::Malformed)?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(BadHeaders::Malformed);
            }
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Self(headers))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A byte of a token as RFC 9110 §5.6.2 has it.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
