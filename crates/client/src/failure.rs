//! Why it did not work, and the exit code that says so.

use wire::head::Answer;

use crate::plain::plain;

/// Why the client ends without what was asked of it. The text is for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// The server does not take this login.
    #[error("the server refused the login: {0}")]
    Login(String),
    /// No desktop of that name, or not for this user.
    #[error("{0}")]
    NoDesktop(String),
    /// The server cannot be reached, or has no desktop to give now.
    #[error("{0}")]
    Unavailable(String),
    /// The connection was lost, and so were all attempts to get it back.
    #[error("the connection was lost and could not be resumed: {0}")]
    Lost(String),
    /// The server is not the one it was, or not trusted.
    #[error("{0}")]
    Certificate(String),
    /// Another client shows the desktop now.
    #[error("{0}")]
    TakenOver(String),
    /// Something is missing on this machine.
    #[error("{0}")]
    Local(String),
}

/// What `--help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0  the session ended or was suspended, or the request was answered
  2  the command line is wrong
  3  the login was refused
  4  there is no such desktop, or not for this user
  5  the server cannot be reached, or the desktop is not available now
  6  the connection was lost and could not be resumed
  7  the server's certificate has changed, or was not accepted
  8  another client took the desktop over
  9  something is missing on this machine, such as DISPLAY or nxproxy";

impl Failure {
    /// The exit code, as in [`EXIT_CODES`].
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Login(_) => 3,
            Self::NoDesktop(_) => 4,
            Self::Unavailable(_) => 5,
            Self::Lost(_) => 6,
            Self::Certificate(_) => 7,
            Self::TakenOver(_) => 8,
            Self::Local(_) => 9,
        }
    }

    /// Whether the same may work a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// What the server's refusal means.
    pub(crate) fn refused(answer: &Answer) -> Self {
        let text = plain(&answer.text());
        match answer.status {
            401 => Self::Login(text),
            403 | 404 | 422 => Self::NoDesktop(text),
            409 => Self::TakenOver(text),
            _ if text.is_empty() => Self::Unavailable(format!("the server said {}", answer.status)),
            _ => Self::Unavailable(text),
        }
    }
}
