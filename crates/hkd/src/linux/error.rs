//! What can go wrong at the door to the machine.

use std::{io, path::Path};

/// A failed call. The text names what was being done and to what.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done, such as "snapshot /a as /b".
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program said no.
    #[error("{program} failed ({status}): {said}")]
    Program {
        /// Its name.
        program: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// A program took too long and was ended.
    #[error("{program} did not finish within {seconds} s")]
    Timeout {
        /// Its name.
        program: String,
        /// How long it had.
        seconds: u64,
    },
    /// The image is not the one that was registered.
    #[error("{path} has the sha-256 {found}, not {wanted}")]
    Digest {
        /// The image's file.
        path: String,
        /// What it should be.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// The archive could not be read.
    #[error("cannot read the image {path}: {source}")]
    Image {
        /// The image's file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Something that is there does not look as it should.
    #[error("{what} is not as expected: {why}")]
    Unexpected {
        /// The thing.
        what: String,
        /// How it is.
        why: String,
    },
}

/// What calls of the door return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the volume had no room left.
    pub fn is_full(&self) -> bool {
        match self {
            Self::System { source, .. } | Self::Image { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
            }
            Self::Program { said, .. } => said.contains("No space left on device"),
            Self::Timeout { .. } | Self::Digest { .. } | Self::Unexpected { .. } => false,
        }
    }

    /// Whether a thing was not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::System { source, .. } | Self::Image { source, .. }
            if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    /// Wraps the error; `doing` continues "cannot …".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::System { doing: doing(), source: source.into() })
    }
}

/// A path for a message.
pub(crate) fn show(path: &Path) -> std::path::Display<'_> {
    path.display()
}
