//! Files on their way to `images/`, and the names they have until they are there.
//!
//! | name | what it is |
//! |---|---|
//! | `<node>~<random>.partial` | being written, worth nothing without the api that writes it |
//! | `<node>~<random>~<sha-256>.complete` | in `images/`, whole and synced: only its name is missing |

use std::{
    io,
    path::{Path, PathBuf},
};

use http::StatusCode;
use rand::distr::{Alphanumeric, SampleString as _};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::fault::Fault;

const PARTIAL: &str = ".partial";
const COMPLETE: &str = ".complete";
/// How many random letters a name has.
const RANDOM: usize = 32;
/// How many letters a sha-256 has.
const SHA256: usize = 64;

/// A file that is removed unless it is [kept](Partial::keep).
#[derive(Debug)]
pub(super) struct Partial(PathBuf);

impl Partial {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it another name on the same file system.
    pub(super) async fn rename(&mut self, to: PathBuf) -> io::Result<()> {
        tokio::fs::rename(&self.0, &to).await?;
        self.0 = to;
        Ok(())
    }

    /// Gives it another name on the same file system, unless there is a file of that name: that is an
    /// error of the kind `AlreadyExists`.
    pub(super) async fn rename_to_new(&mut self, to: PathBuf) -> io::Result<()> {
        let (old, new) = (self.0.clone(), to.clone());
        let rename = move || match renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE) {
            // A file system that cannot tell, as NFS: files in this folder are made by the api alone.
            Err(Errno::INVAL) if new.symlink_metadata().is_err() => std::fs::rename(&old, &new),
            Err(Errno::INVAL) => Err(io::ErrorKind::AlreadyExists.into()),
            other => other.map_err(io::Error::from),
        };
        tokio::task::spawn_blocking(rename).await.map_err(io::Error::other)??;
        self.0 = to;
        Ok(())
    }

    /// It stays.
    pub(super) fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty()
            && let Err(error) = std::fs::remove_file(&self.0)
        {
            tracing::warn!(%error, path = %self.0.display(), "an unfinished file stays behind");
        }
    }
}

/// A new name for a file that this node writes.
pub(super) fn partial_name(node: &str) -> String {
    format!("{}{PARTIAL}", begin(node))
}

/// A new name for a file that this node has written.
pub(super) fn complete_name(node: &str, sha256: &str) -> String {
    format!("{}~{sha256}{COMPLETE}", begin(node))
}

fn begin(node: &str) -> String {
    format!("{}~{}", encoded(node), Alphanumeric.sample_string(&mut rand::rng(), RANDOM))
}

/// A node's name as it can be part of a file's name.
fn encoded(node: &str) -> String {
    form_urlencoded::byte_serialize(node.as_bytes()).collect()
}

/// An unfinished file, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfinished<'a> {
    node: &'a str,
    /// Of one that is complete.
    pub(super) sha256: Option<&'a str>,
}

impl<'a> Unfinished<'a> {
    /// None for every name that was not made here.
    pub(super) fn read(name: &'a str) -> Option<Self> {
        let (begin, sha256) = if let Some(begin) = name.strip_suffix(PARTIAL) {
            (begin, None)
        } else {
            let (begin, sha256) = name.strip_suffix(COMPLETE)?.rsplit_once('~')?;
            let plain = sha256.len() == SHA256 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
            (begin, Some(plain.then_some(sha256)?))
        };
        let (node, random) = begin.rsplit_once('~')?;
        let plain = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
        (plain && !node.is_empty()).then_some(Self { node, sha256 })
    }

    /// Whether the api of this node made it.
    pub(super) fn is_of(&self, node: &str) -> bool {
        self.node == encoded(node)
    }
}

/// Why a folder of the storage cannot be used, for the one who sent an image.
pub(super) fn storage_fault(path: &Path, error: &io::Error) -> Fault {
    let path = path.display();
    if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
        let detail = format!("there is no space left at {path}");
        return Fault::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", detail)
            .remedy("delete unused images, or make the volume larger");
    }
    tracing::error!(%error, %path, "the storage cannot be written");
    Fault::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "storage-unusable",
        format!("the storage {path} cannot be written: {error}"),
    )
    .remedy("run `qvd doctor`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_tell_whose_file_it_is_and_what_is_in_it() {
        let sha256 = "ab".repeat(32);
        for node in ["node1.example.org", "a~b", "../x y", "é"] {
            let (partial, complete) = (partial_name(node), complete_name(node, &sha256));
            assert!(!partial.contains('/') && !complete.contains('/'));
            let partial = Unfinished::read(&partial).unwrap();
            assert!(partial.is_of(node) && !partial.is_of("node1") && partial.sha256.is_none());
            let complete = Unfinished::read(&complete).unwrap();
            assert!(complete.is_of(node) && complete.sha256 == Some(sha256.as_str()));
        }
        for foreign in ["1-small.tar.zst", "x.partial", "1-a.partial", "a~b~c.complete"] {
            assert_eq!(Unfinished::read(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read(name in "[a-z~é]{0,4}(~[a-z0-9]{32})?(~[a-f0-9]{64})?(\\.partial|\\.complete)?") {
            Unfinished::read(&name);
        }
    }
}
