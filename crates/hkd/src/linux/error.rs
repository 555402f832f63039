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
    /// A program is not there.
    #[error("`{program}` is not installed")]
    NotInstalled {
        /// Its name.
        program: String,
    },
    /// A name on the machine is another's.
    #[error("{what} is in use by others: {why}")]
    InUse {
        /// What has the name.
        what: String,
        /// How that can be told.
        why: String,
    },
    /// A folder is not the storage that it was.
    #[error("{path} is not the storage it was: its file {marker} is not there")]
    NotMounted {
        /// The folder.
        path: String,
        /// The file that marks it.
        marker: &'static str,
    },
    /// A folder is the storage of another installation.
    #[error("the storage {path} belongs to the installation {found}")]
    Foreign {
        /// The folder.
        path: String,
        /// Whose it is.
        found: String,
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
    /// A folder of images has none.
    #[error("{path} holds no image: it is not mounted")]
    NoImages {
        /// The folder.
        path: String,
    },
    /// The files of a file system cannot have other owners in a container.
    #[error(
        "the file system of {path} cannot show its files under the ids of a container, as NFS cannot; btrfs, ext4 and XFS can"
    )]
    Unmappable {
        /// What was to be mounted.
        path: String,
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
            Self::NotInstalled { .. }
            | Self::InUse { .. }
            | Self::NotMounted { .. }
            | Self::Foreign { .. }
            | Self::Timeout { .. }
            | Self::Digest { .. }
            | Self::NoImages { .. }
            | Self::Unmappable { .. }
            | Self::Unexpected { .. } => false,
        }
    }

    /// Whether a thing was not there.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::System { source, .. } | Self::Image { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
            }
            Self::NotInstalled { .. } => true,
            _ => false,
        }
    }

    /// Whether a storage cannot be used as it is: read-only, broken, or gone away.
    pub fn is_storage(&self) -> bool {
        const CODES: [i32; 6] =
            [libc::EROFS, libc::EIO, libc::ESTALE, libc::ENOTCONN, libc::ENODEV, libc::ETIMEDOUT];
        match self {
            Self::System { source, .. } | Self::Image { source, .. } => {
                source.raw_os_error().is_some_and(|code| CODES.contains(&code))
            }
            _ => false,
        }
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
