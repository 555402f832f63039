//! At the start of the api: finishes and removes what one that died left unfinished.
//!
//! In a cluster the folders are shared. What this node left is nobody else's; what another node
//! left may still be in work, unless it is a day old.

use std::{ffi::OsString, path::Path, time::Duration};

use model::di::Di;
use tokio::fs;

use crate::{
    context::{Context, TENANT},
    fault::Fault,
};

use super::{partial::Unfinished, receive::sync_folder};

/// When another node's file was left behind for sure.
const OLD: Duration = Duration::from_hours(24);
/// How long a storage that hangs may hold up the start.
const WITHIN: Duration = Duration::from_secs(30);

/// Gives images their files where only the name is missing, and removes what is worth nothing.
pub(crate) async fn mend(context: &Context) {
    match tokio::time::timeout(WITHIN, finish(context)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => {
            tracing::warn!(error = fault.detail(), "unfinished images cannot be looked for");
        }
        Err(_) => tracing::warn!("the storage hangs: unfinished images were not looked for"),
    }
}

async fn finish(context: &Context) -> Result<(), Fault> {
    let images = super::images(context).await?;
    let staging = super::folder(context, "path.storage.staging").await?;
    let mut lacking = Vec::new();
    for di in context.store().dis(TENANT).await? {
        if !fs::try_exists(images.join(&di.path)).await.unwrap_or(true) {
            lacking.push(di);
        }
    }
    for folder in [&images, &staging] {
        for name in left_in(folder, context.node()).await {
            let path = folder.join(&name);
            if let Some(di) = whose(&path, &name, &mut lacking).await {
                match give(&path, &images, &di).await {
                    Ok(()) => tracing::info!(di = di.id.0, path = di.path, "an image got its file"),
                    Err(error) => {
                        tracing::error!(%error, di = di.id.0, path = di.path, "an image has no file");
                    }
                }
            } else if fs::remove_file(&path).await.is_ok() {
                tracing::info!(path = %path.display(), "removed an unfinished image");
            }
        }
    }
    Ok(())
}

/// The names of unfinished files that nobody works on.
async fn left_in(folder: &Path, node: &str) -> Vec<OsString> {
    let mut left = Vec::new();
    let Ok(mut entries) = fs::read_dir(folder).await else { return left };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let name = entry.file_name();
        let Some(unfinished) = name.to_str().and_then(Unfinished::read) else { continue };
        let old = match entry.metadata().await.and_then(|about| about.modified()) {
            Ok(at) => at.elapsed().is_ok_and(|age| age > OLD),
            Err(_) => false,
        };
        if unfinished.is_of(node) || old {
            left.push(name);
        }
    }
    left
}

/// The image that lacks just this file.
async fn whose(path: &Path, name: &OsString, lacking: &mut Vec<Di>) -> Option<Di> {
    let sha256 = Unfinished::read(name.to_str()?)?.sha256?;
    let bytes = i64::try_from(fs::metadata(path).await.ok()?.len()).ok()?;
    let at = lacking.iter().position(|di| di.sha256 == sha256 && di.bytes == bytes)?;
    Some(lacking.swap_remove(at))
}

async fn give(path: &Path, images: &Path, di: &Di) -> std::io::Result<()> {
    fs::rename(path, images.join(&di.path)).await?;
    sync_folder(images).await
}
