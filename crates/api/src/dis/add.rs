//! `POST /dis`: an image comes in.
//!
//! ```text
//! receive (staging/<random>.partial, hashed) -> look through -> row -> rename to images/<id>-<file>
//! ```
//!
//! A failure anywhere leaves neither the row nor the file.

use std::{path::PathBuf, sync::Arc};

use axum::{Json, body::Body};
use http::StatusCode;
use model::{OsfId, di::Name};
use serde::Deserialize;
use wire::rest::{ImageKind, NewDi};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::Query,
    fault::Fault,
    image::{self, Limits},
    peer::Peer,
};

use super::receive::{self, Received};

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    /// Name of the OSF.
    osf: String,
    /// Name of the file, which tells how it is packed.
    file: String,
    version: Option<String>,
    /// What the file's sha-256 must be.
    sha256: Option<String>,
}

pub(crate) async fn add(
    context: Shared,
    peer: Peer,
    Query(query): Query<Add>,
    body: Body,
) -> Result<(StatusCode, Json<NewDi>), Fault> {
    let osf = match check(&context, &query).await {
        Ok(osf) => osf,
        Err(fault) => return Err(receive::drained(body, fault).await),
    };
    let staging = super::folder(&context, "path.storage.staging").await?;
    let received = receive::receive(body, &staging).await?;
    if let Some(wanted) = query.sha256.as_ref().filter(|wanted| **wanted != received.sha256) {
        let detail = format!("what arrived has the sha-256 {}, and not {wanted}", received.sha256);
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "image-changed", detail)
            .remedy("send it again"));
    }
    let (kind, received) = look_through(received, query.file.clone()).await?;
    let warnings = image::warnings(&kind);
    // From here on it is brought to its end even if the one who sent it goes away.
    let commit = commit(context.0.clone(), osf, query, kind, received);
    let di = tokio::spawn(commit)
        .await
        .map_err(|error| Fault::internal("the image was not registered", &error))??;
    context.audit(peer, "di add", di.path.clone(), Change::to(&di)).await;
    tracing::info!(di = di.id, path = di.path, bytes = di.bytes, "image registered");
    Ok((StatusCode::CREATED, Json(NewDi { di, warnings })))
}

/// What can be said before the file is here.
async fn check(context: &Context, query: &Add) -> Result<OsfId, Fault> {
    for name in std::iter::once(&query.file).chain(&query.version) {
        name.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    }
    image::check_name(&query.file)?;
    let osf = context.store().osf_by_name(TENANT, &query.osf).await?;
    let osf = osf.ok_or_else(|| Fault::not_found("OSF", &query.osf))?;
    if let Some(version) = &query.version {
        let tags = context.store().tags_of(osf.id).await?;
        if tags.iter().any(|tag| tag.name == *version) {
            return Err(store::Error::Exists { noun: "tag", name: version.clone() }.into());
        }
    }
    Ok(osf.id)
}

async fn look_through(received: Received, name: String) -> Result<(ImageKind, Received), Fault> {
    let looked = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(received.path())
            .map_err(|error| Fault::internal("the image cannot be read again", &error))?;
        let kind = image::inspect(file, &name, Limits::default(), std::env::consts::ARCH)?;
        Ok((kind, received))
    });
    looked.await.map_err(|error| Fault::internal("the image was not looked through", &error))?
}

async fn commit(
    context: Arc<Context>,
    osf: OsfId,
    query: Add,
    kind: ImageKind,
    received: Received,
) -> Result<wire::rest::Di, Fault> {
    let images: PathBuf = super::images(&context).await?;
    let kind = serde_json::to_string(&kind)
        .map_err(|error| Fault::internal("what was found cannot be noted", &error))?;
    let today = jiff::Zoned::now().date();
    let day = (today.year(), today.month(), today.day());
    let bytes = i64::try_from(received.bytes).unwrap_or(i64::MAX);
    let (version, sha256) = (query.version.as_deref(), received.sha256.clone());
    let store = context.store();
    let di = store
        .add_di(context.now(), TENANT, osf, version, day, &query.file, &sha256, bytes, &kind)
        .await?;
    if let Err(fault) = received.move_to(&images, &di.path).await {
        store.delete_di(di.id).await?;
        return Err(fault);
    }
    super::find(&context, di.id).await
}
