//! Files on their way in: `staging/<random>.partial`.

use std::{
    io,
    path::{Path, PathBuf},
};

use axum::body::Body;
use futures::StreamExt as _;
use http::StatusCode;
use rand::distr::{Alphanumeric, SampleString as _};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

use crate::{context::Context, fault::Fault};

/// How the names of unfinished files end.
const PARTIAL: &str = ".partial";

/// A file that has arrived and has no name yet. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Received {
    partial: Partial,
    pub(super) bytes: u64,
    /// In lower-case hexadecimal.
    pub(super) sha256: String,
}

#[derive(Debug)]
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "an unfinished file stays behind");
        }
    }
}

impl Received {
    pub(super) fn path(&self) -> PathBuf {
        self.partial.0.clone().unwrap_or_default()
    }

    /// Gives it its name in a folder, durably.
    pub(super) async fn move_to(mut self, folder: &Path, name: &str) -> Result<(), Fault> {
        let to = folder.join(name);
        let failed = |error: io::Error| storage_fault(&to, &error);
        fs::create_dir_all(folder).await.map_err(failed)?;
        match fs::rename(self.path(), &to).await {
            Ok(()) => drop(self.partial.0.take()),
            // Staging and images are on two file systems: copied beside its place, then renamed.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut beside = Partial(Some(folder.join(random_name())));
                let path = beside.0.clone().unwrap_or_default();
                fs::copy(self.path(), &path).await.map_err(failed)?;
                File::open(&path).await.map_err(failed)?.sync_all().await.map_err(failed)?;
                fs::rename(&path, &to).await.map_err(failed)?;
                drop(beside.0.take());
            }
            Err(error) => return Err(failed(error)),
        }
        File::open(folder).await.map_err(failed)?.sync_all().await.map_err(failed)
    }
}

/// Writes a body to a file of the folder, hashing it.
pub(super) async fn receive(body: Body, staging: &Path) -> Result<Received, Fault> {
    fs::create_dir_all(staging).await.map_err(|error| storage_fault(staging, &error))?;
    let path = staging.join(random_name());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&path)
        .await
        .map_err(|error| storage_fault(staging, &error))?;
    let partial = Partial(Some(path));
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            Fault::malformed(format!("the file broke off after {bytes} bytes: {error}"))
        })?;
        hash.update(&piece);
        bytes += piece.len() as u64;
        if let Err(error) = file.write_all(&piece).await {
            // The sender is told only when it has sent everything.
            while pieces.next().await.is_some_and(|piece| piece.is_ok()) {}
            return Err(storage_fault(staging, &error));
        }
    }
    file.sync_all().await.map_err(|error| storage_fault(staging, &error))?;
    Ok(Received { partial, bytes, sha256: hex::encode(hash.finalize()) })
}

/// Reads a body to its end for nothing, so that its sender hears the fault.
pub(super) async fn drained(body: Body, fault: Fault) -> Fault {
    let mut pieces = body.into_data_stream();
    while pieces.next().await.is_some_and(|piece| piece.is_ok()) {}
    fault
}

/// At start: removes what an api that died left unfinished. In a cluster the folder is shared; an
/// unfinished file of another api is younger than a day.
pub(crate) async fn sweep(context: &Context) {
    let Ok(staging) = super::folder(context, "path.storage.staging").await else { return };
    let Ok(mut entries) = fs::read_dir(&staging).await else { return };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(is_random_name);
        let old = match entry.metadata().await.and_then(|about| about.modified()) {
            Ok(at) => at.elapsed().is_ok_and(|age| age.as_secs() > 24 * 3600),
            Err(_) => false,
        };
        if ours && old && fs::remove_file(entry.path()).await.is_ok() {
            tracing::info!(path = %entry.path().display(), "removed an unfinished image");
        }
    }
}

fn random_name() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32) + PARTIAL
}

fn is_random_name(name: &str) -> bool {
    name.strip_suffix(PARTIAL)
        .is_some_and(|stem| stem.len() == 32 && stem.bytes().all(|b| b.is_ascii_alphanumeric()))
}

fn storage_fault(path: &Path, error: &io::Error) -> Fault {
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
