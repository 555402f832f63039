//! `/dis`.

pub(crate) mod add;
pub(crate) mod mend;
mod partial;
mod receive;

use std::path::{Path as FilePath, PathBuf};

use axum::Json;
use http::StatusCode;
use model::{
    DiId,
    di::{self, Name, Tag},
};
use wire::rest::{Di, ImageKind};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::{Path, Query},
    fault::Fault,
    filter::{Fields, Wanted},
    peer::Peer,
};

impl Fields for Di {
    const KEYS: &'static [&'static str] = &["id", "osf", "osf_id", "version", "path", "tag"];

    fn values(&self, key: &str) -> Vec<String> {
        match key {
            "id" => vec![self.id.to_string()],
            "osf" => vec![self.osf.clone()],
            "osf_id" => vec![self.osf_id.to_string()],
            "version" => vec![self.version.clone()],
            "path" => vec![self.path.clone()],
            _ => self.tags.clone(),
        }
    }
}

/// An image as it is shown; `tags` may hold those of others too.
fn body(di: di::Di, osf: String, tags: &[Tag]) -> Di {
    let mut own: Vec<&Tag> = tags.iter().filter(|tag| tag.di == di.id).collect();
    own.sort_by_key(|tag| (!tag.fixed, tag.name.clone()));
    Di {
        id: di.id.0,
        osf_id: di.osf.0,
        osf,
        version: di.version,
        path: di.path,
        tags: own.into_iter().map(|tag| tag.name.clone()).collect(),
        sha256: di.sha256,
        bytes: di.bytes,
        added_at: di.added_at.0,
        kind: serde_json::from_str::<ImageKind>(&di.kind).ok(),
    }
}

pub(crate) async fn list(context: Shared, wanted: Query<Wanted>) -> Result<Json<Vec<Di>>, Fault> {
    let store = context.store();
    let (osfs, tags) = (store.osfs(TENANT).await?, store.tags().await?);
    let bodies = store.dis(TENANT).await?.into_iter().map(|di| {
        let osf = osfs.iter().find(|osf| osf.id == di.osf);
        body(di, osf.map_or_else(String::new, |osf| osf.name.clone()), &tags)
    });
    wanted.0.of(bodies.collect()).map(Json)
}

pub(crate) async fn tag(
    context: Shared,
    peer: Peer,
    Path((id, tag)): Path<(i64, String)>,
) -> Result<Json<Di>, Fault> {
    tag.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    let before = find(&context, DiId(id)).await?;
    context.store().tag_di(DiId(id), &tag).await?;
    let after = find(&context, DiId(id)).await?;
    context.audit(peer, "di tag", after.path.clone(), Change::between(&before, &after)).await;
    Ok(Json(after))
}

pub(crate) async fn untag(
    context: Shared,
    peer: Peer,
    Path((id, tag)): Path<(i64, String)>,
) -> Result<Json<Di>, Fault> {
    let before = find(&context, DiId(id)).await?;
    context.store().untag_di(DiId(id), &tag).await?;
    let after = find(&context, DiId(id)).await?;
    context.audit(peer, "di untag", after.path.clone(), Change::between(&before, &after)).await;
    Ok(Json(after))
}

/// Forgets an image and removes its file. What hosts unpacked of it, they remove themselves.
pub(crate) async fn delete(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Fault> {
    let di = find(&context, DiId(id)).await?;
    let file = images(&context).await?.join(&di.path);
    context.store().delete_di(DiId(id)).await?;
    context.audit(peer, "di del", di.path.clone(), Change::from(&di)).await;
    match tokio::fs::remove_file(&file).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(StatusCode::NO_CONTENT),
        Err(error) => {
            let doing = format!("the image is gone, but not its file {}", file.display());
            Err(Fault::internal(&doing, &error))
        }
    }
}

async fn find(context: &Context, id: DiId) -> Result<Di, Fault> {
    let store = context.store();
    let di = store.di(id).await?.ok_or_else(|| {
        Fault::not_found("image", id).remedy("`qa di list` shows those there are")
    })?;
    let osf = store.osf(di.osf).await?.map_or_else(String::new, |osf| osf.name);
    let tags = store.tags_of(di.osf).await?;
    Ok(body(di, osf, &tags))
}

/// The folder of registered images.
async fn images(context: &Context) -> Result<PathBuf, Fault> {
    folder(context, "path.storage.images").await
}

/// A folder of the storage, which must lie where the node's file allows it.
async fn folder(context: &Context, key: &str) -> Result<PathBuf, Fault> {
    let settings = context.settings().await?;
    let (path, allowed) = (settings.get(key)?, settings.get("path.storage.allowed")?);
    if FilePath::new(&path).starts_with(&allowed) {
        Ok(path.into())
    } else {
        let detail = format!("{key} is {path}, which is not below path.storage.allowed, {allowed}");
        Err(Fault::new(StatusCode::CONFLICT, "storage-not-allowed", detail)
            .remedy("set the one with `qa config set`, or the other in /etc/qvd/node.conf"))
    }
}
