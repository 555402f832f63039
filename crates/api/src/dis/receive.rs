//! An image comes in: from the body to a file, from there beside its place in `images/`.

use std::{
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::Body;
use futures::StreamExt as _;
use http::StatusCode;
use model::di::Di;
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{self, File},
    io::AsyncWriteExt as _,
};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;

use super::partial::{Partial, complete_name, partial_name, storage_fault};

/// How much is copied at a time.
const PIECE: usize = 1 << 20;

/// How long the storage may take to say what is in it.
const ANSWERS: Duration = Duration::from_secs(5);

/// Makes sure that the folder of images is the one there was: where all of the registered images lack,
/// its storage is not mounted, and nothing is to be made.
pub(super) async fn mounted(images: &Path, registered: &[Di]) -> Result<(), Fault> {
    if registered.is_empty() {
        return Ok(());
    }
    let path = images.display();
    let look = async {
        for di in registered {
            let there = fs::try_exists(images.join(&di.path)).await;
            if there.map_err(|error| storage_fault(images, &error))? {
                return Ok(());
            }
        }
        let detail = format!(
            "{path} holds none of the registered images: it is not mounted, or they were not moved \
             there"
        );
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "storage-missing", detail)
            .remedy("mount it on this host, and send the image again"))
    };
    // What waits for a storage that hangs is left behind.
    tokio::time::timeout(ANSWERS, look).await.unwrap_or_else(|_| {
        let detail = format!("the storage {path} does not answer");
        Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "storage-silent", detail)
            .remedy("send the image again when it answers"))
    })
}

/// A new file in the folder for what comes in.
#[derive(Debug)]
pub(super) struct Incoming {
    partial: Partial,
    file: File,
}

/// A file that has arrived and has no name yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Received {
    partial: Partial,
    pub(super) bytes: u64,
    /// In lower-case hexadecimal.
    pub(super) sha256: String,
}

impl Incoming {
    pub(super) async fn open(staging: &Path, node: &str) -> Result<Self, Fault> {
        let failed = |error: io::Error| storage_fault(staging, &error);
        fs::create_dir_all(staging).await.map_err(failed)?;
        let path = staging.join(partial_name(node));
        let file = fs::OpenOptions::from(new_file()).open(&path).await.map_err(failed)?;
        Ok(Self { partial: Partial::new(path), file })
    }

    /// Writes a body to the file, hashing it, until `ended` is cancelled.
    pub(super) async fn receive(
        mut self,
        body: Body,
        ended: &CancellationToken,
    ) -> Result<Received, Fault> {
        let staging = self.partial.path().parent().unwrap_or(Path::new("")).to_owned();
        let failed = |error: io::Error| storage_fault(&staging, &error);
        let mut hash = Sha256::new();
        let mut bytes = 0;
        let mut pieces = body.into_data_stream();
        loop {
            let piece = tokio::select! {
                // Ends first.
                biased;
                () = ended.cancelled() => return Err(ending()),
                piece = pieces.next() => piece,
            };
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| {
                Fault::malformed(format!("the file broke off after {bytes} bytes: {error}"))
            })?;
            hash.update(&piece);
            bytes += piece.len() as u64;
            if let Err(error) = self.file.write_all(&piece).await {
                return Err(drained(Body::from_stream(pieces), failed(error), ended).await);
            }
        }
        // The last write may still be under way, and `sync_all` keeps its error to itself.
        self.file.flush().await.map_err(failed)?;
        self.file.sync_all().await.map_err(failed)?;
        Ok(Received { partial: self.partial, bytes, sha256: hex::encode(hash.finalize()) })
    }
}

impl Received {
    pub(super) fn path(&self) -> &Path {
        self.partial.path()
    }

    /// Puts it beside its place, durably, under a name that tells what it is: what is left after
    /// that is one `rename`. Between two file systems it is copied, until `ended` is cancelled.
    pub(super) async fn beside(
        mut self,
        images: &Path,
        node: &str,
        ended: CancellationToken,
    ) -> Result<Complete, Fault> {
        let failed = |error: io::Error| storage_fault(images, &error);
        fs::create_dir_all(images).await.map_err(failed)?;
        let complete = images.join(complete_name(node, &self.sha256));
        match self.partial.rename(complete.clone()).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let (from, to) = (self.path().to_owned(), images.join(partial_name(node)));
                let mut copied = copy(from, to, ended).await.map_err(failed)?;
                copied.rename(complete).await.map_err(failed)?;
                self.partial = copied;
            }
            Err(error) => return Err(failed(error)),
        }
        sync_folder(images).await.map_err(failed)?;
        Ok(Complete(self.partial))
    }
}

/// A whole image beside its place. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Complete(Partial);

impl Complete {
    /// Gives it its name in the same folder, durably. A file that has it already is another's: of an
    /// installation whose database this is not, or of one that was put back to an earlier state.
    pub(super) async fn name(mut self, name: &str) -> Result<(), Fault> {
        let folder = self.0.path().parent().unwrap_or(Path::new("")).to_owned();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let detail =
                    format!("{} is there already, and no image", folder.join(name).display());
                Fault::new(StatusCode::CONFLICT, "file-exists", detail)
                    .remedy("see whose it is: the database may be another than the storage's")
            }
            _ => storage_fault(&folder, &error),
        };
        self.0.rename_to_new(folder.join(name)).await.map_err(failed)?;
        sync_folder(&folder).await.map_err(failed)?;
        self.0.keep();
        Ok(())
    }
}

pub(super) async fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).await?.sync_all().await
}

fn new_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o640);
    options
}

async fn copy(from: PathBuf, to: PathBuf, ended: CancellationToken) -> io::Result<Partial> {
    let copying = tokio::task::spawn_blocking(move || {
        let from = Until::new(std::fs::File::open(from)?, ended);
        let mut file = new_file().open(&to)?;
        let partial = Partial::new(to);
        io::copy(&mut io::BufReader::with_capacity(PIECE, from), &mut file)?;
        file.sync_all()?;
        Ok(partial)
    });
    copying.await.map_err(io::Error::other)?
}

/// A reader that fails when nobody waits for the result any more.
#[derive(Debug)]
pub(super) struct Until<R> {
    reader: R,
    ended: CancellationToken,
}

impl<R> Until<R> {
    pub(super) fn new(reader: R, ended: CancellationToken) -> Self {
        Self { reader, ended }
    }
}

impl<R: Read> Read for Until<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended.is_cancelled() {
            return Err(io::Error::other("nobody waits for it any more"));
        }
        self.reader.read(buffer)
    }
}

/// The api ends before the image is registered.
pub(super) fn ending() -> Fault {
    let detail = "the api ends, and the image is not registered";
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "ending", detail).remedy("send it again")
}

/// Reads a body to its end for nothing, so that its sender hears the fault.
pub(super) async fn drained(body: Body, fault: Fault, ended: &CancellationToken) -> Fault {
    let mut pieces = body.into_data_stream();
    let all = async { while pieces.next().await.is_some_and(|piece| piece.is_ok()) {} };
    ended.run_until_cancelled(all).await;
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_file_that_is_there_is_never_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (there, fresh) = (place.path().join("1-a.tar"), place.path().join("fresh"));
        std::fs::write(&there, "another's").unwrap();
        std::fs::write(&fresh, "mine").unwrap();
        let refused = Complete(Partial::new(fresh.clone())).name("1-a.tar").await.unwrap_err();
        assert!(refused.detail().contains("1-a.tar is there already"), "{}", refused.detail());
        assert_eq!(std::fs::read_to_string(&there).unwrap(), "another's");
        assert_eq!(names_in(place.path()), ["1-a.tar"]);
        std::fs::write(&fresh, "mine").unwrap();
        Complete(Partial::new(fresh)).name("2-a.tar").await.unwrap();
        assert_eq!(std::fs::read_to_string(place.path().join("2-a.tar")).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_volume_that_is_full_at_the_last_piece_is_noticed() {
        let file = fs::OpenOptions::new().write(true).open("/dev/full").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "").unwrap();
        let incoming = Incoming { partial: Partial::new(path), file };
        let ended = CancellationToken::new();
        let fault = incoming.receive(Body::from("one piece"), &ended).await.unwrap_err();
        let at = folder.path().display();
        assert_eq!(fault.detail(), format!("there is no space left at {at}"));
        assert!(names_in(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn the_end_of_the_api_ends_what_comes_in() {
        let folder = tempfile::tempdir().unwrap();
        let incoming = Incoming::open(folder.path(), "node1").await.unwrap();
        let ended = CancellationToken::new();
        let endless = || {
            let first = futures::stream::iter([Ok::<_, io::Error>("a piece")]);
            Body::from_stream(first.chain(futures::stream::pending()))
        };
        let receiving = incoming.receive(endless(), &ended);
        let (result, ()) = tokio::join!(receiving, async { ended.cancel() });
        assert_eq!(result.unwrap_err().detail(), ending().detail());
        assert!(names_in(folder.path()).is_empty());
        let fault = drained(endless(), Fault::malformed("x"), &ended).await;
        assert_eq!(fault.detail(), "x");
    }

    #[tokio::test]
    async fn between_two_file_systems_it_is_copied_whole() {
        use std::os::unix::fs::MetadataExt as _;
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm"));
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        let Some(there) = there.ok().filter(|it| device(it.path()) != device(here.path())) else {
            println!("skipped: there is no second file system at /dev/shm");
            return;
        };
        let ended = CancellationToken::new();
        let receive = async || {
            let incoming = Incoming::open(here.path(), "node1").await.unwrap();
            incoming.receive(Body::from("an image"), &ended).await.unwrap()
        };
        let complete = receive().await.beside(there.path(), "node1", ended.clone()).await.unwrap();
        assert!(names_in(here.path()).is_empty());
        complete.name("1-x.tar").await.unwrap();
        assert_eq!(names_in(there.path()), ["1-x.tar"]);
        assert_eq!(std::fs::read(there.path().join("1-x.tar")).unwrap(), b"an image");

        let received = receive().await;
        ended.cancel();
        assert!(received.beside(there.path(), "node1", ended.clone()).await.is_err());
        assert!(names_in(here.path()).is_empty());
        assert_eq!(names_in(there.path()), ["1-x.tar"]);
    }
}
