//! Why an image is not taken.

use std::io;

/// Why an image is not taken, in a sentence; [`Refusal::remedy`] says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "what a field holds is said by the sentence it is in")]
pub enum Refusal {
    /// The name ends in nothing known.
    #[error("`{name}` does not end in one of {}", model::di::ARCHIVES.join(", "))]
    Suffix { name: String },
    /// The name says one thing and the first bytes another.
    #[error("`{name}` is {found}, which its name does not say")]
    Mislabelled { name: String, found: &'static str },
    /// No tar, right at the beginning.
    #[error("it is not a tar archive")]
    NotATar,
    /// It ends too early.
    #[error("the archive is cut off: it ends after {unpacked} bytes of its contents")]
    Truncated { unpacked: u64 },
    /// It cannot be decompressed or makes no sense.
    #[error("the archive is damaged after {unpacked} bytes of its contents: {error}")]
    Damaged { unpacked: u64, error: io::Error },
    /// Its compression has a larger window than is taken.
    #[error("unpacking it takes more memory than a host gives for it, which is 128 MiB")]
    Memory,
    /// A header with a wrong sum or an impossible value.
    #[error("the archive is damaged after {unpacked} bytes of its contents: {what}")]
    BadHeader { unpacked: u64, what: &'static str },
    /// A name that leaves the image or cannot be unpacked.
    #[error("the archive has a member whose name {why}: {name}")]
    Hostile { name: String, why: &'static str },
    /// More than [`super::Limits`].
    #[error("the archive holds more than {limit} {what}")]
    TooMuch { limit: u64, what: &'static str },
    /// The root is a folder of it.
    #[error("its root is in the folder rootfs/ (an extended image), which no host can start")]
    Extended,
    /// Nothing to start.
    #[error("it has nothing to start: {missing}")]
    NoInit { missing: String },
    /// Another processor's programs.
    #[error("its programs are for {found}, and this host is {host}")]
    Architecture { found: String, host: String },
}

impl Refusal {
    /// The stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Suffix { .. } => "image-suffix",
            Self::Mislabelled { .. } => "image-mislabelled",
            Self::NotATar => "image-not-tar",
            Self::Truncated { .. } => "image-truncated",
            Self::Damaged { .. } | Self::BadHeader { .. } => "image-damaged",
            Self::Hostile { .. } => "image-hostile",
            Self::Memory => "image-window",
            Self::TooMuch { .. } => "image-too-large",
            Self::Extended => "image-extended",
            Self::NoInit { .. } => "image-no-init",
            Self::Architecture { .. } => "image-architecture",
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Suffix { .. } | Self::Mislabelled { .. } => {
                "give the file a name that says what it is"
            }
            Self::NotATar => {
                "pack the image's root folder with `tar --xattrs --acls --numeric-owner -C ROOT -c .`"
            }
            Self::Truncated { .. } | Self::Damaged { .. } | Self::BadHeader { .. } => {
                "copy or make the file again, and compare its sha-256 with the original's"
            }
            Self::Hostile { .. } => {
                "pack the image's root folder with `tar -C ROOT -c .`, and do not trust where this one came from"
            }
            Self::Memory => {
                "compress it with a smaller window: `xz -9` and `zstd -19` do, without options for long distances"
            }
            Self::TooMuch { .. } => "leave out what a desktop does not need",
            Self::Extended => "pack the folder rootfs itself with `tar -C rootfs -c .`",
            Self::NoInit { .. } => {
                "install an init in the image, such as systemd-sysv, and pack its root folder, not the folder above it"
            }
            Self::Architecture { .. } => "build the image for the hosts' architecture",
        }
    }
}
