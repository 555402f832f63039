//! Sends a file, hashing it on the way.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio_util::io::ReaderStream;

use crate::client::Client;

/// How much is read at a time.
const PIECE: usize = 256 * 1024;

/// Sends the file as the body of a `POST`; the answer, and the sha-256 of what was sent in
/// lower-case hexadecimal.
pub(crate) async fn send<T: DeserializeOwned>(
    client: &Client,
    to: &str,
    file: tokio::fs::File,
    path: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<(T, String)> {
    let hash = Arc::new(Mutex::new(Sha256::new()));
    // What the body sees of an error in reading is lost in hyper's "error from user's body".
    let failed = Arc::new(Mutex::new(None::<io::Error>));
    let pieces = ReaderStream::with_capacity(file, PIECE)
        .inspect({
            let (hash, failed, bar) = (hash.clone(), failed.clone(), bar.clone());
            move |piece| match piece {
                Ok(bytes) => {
                    lock(&hash).update(bytes);
                    bar.inc(bytes.len() as u64);
                }
                Err(error) => {
                    *lock(&failed) = Some(io::Error::new(error.kind(), error.to_string()));
                }
            }
        })
        .map_ok(Frame::data);
    let body = BodyExt::boxed(StreamBody::new(pieces));
    let result = client.exchange(Method::POST, to, body).await;
    if let Some(error) = lock(&failed).take() {
        return Err(error).with_context(|| format!("cannot read {}", path.display()));
    }
    let sent = hex::encode(lock(&hash).clone().finalize());
    Ok((result?, sent))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
