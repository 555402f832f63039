//! `POST /dis`: an image comes in.
//!
//! ```text
//! receive (staging/….partial, hashed) -> look through -> beside its place (images/….complete)
//!   -> row -> rename to images/<id>-<file>
//! ```
//!
//! A failure anywhere leaves neither the row nor the file. An api that dies between the row and the
//! rename leaves both, and the next one renames (`mend`).

use std::{path::PathBuf, sync::Arc};

use axum::{Json, body::Body};
use http::StatusCode;
use image::{Limits, Refusal};
use model::{OsfId, di::Name, osf::Init};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use wire::rest::{ImageKind, NewDi};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::Query,
    fault::Fault,
    osfs,
    peer::Peer,
};

use super::receive::{Complete, Incoming, Received, Until, drained, ending, mounted};

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    /// Name of the OSF, or its id.
    osf: Option<String>,
    osf_id: Option<i64>,
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
    let ended = context.shutdown();
    let Ready { osf, images, incoming } = match prepare(&context, &query).await {
        Ok(ready) => ready,
        Err(fault) => return Err(drained(body, fault, ended).await),
    };
    let received = incoming.receive(body, ended).await?;
    if let Some(wanted) = query.sha256.as_ref().filter(|wanted| **wanted != received.sha256) {
        let detail = format!("what arrived has the sha-256 {}, and not {wanted}", received.sha256);
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "image-changed", detail)
            .remedy("send it again"));
    }
    let (bytes, sha256) = (received.bytes, received.sha256.clone());
    // Cancelled too when this is dropped: whoever sent it went away.
    let ended = ended.child_token();
    let _waiting = ended.clone().drop_guard();
    let (kind, received) = look_through(received, query.file.clone(), ended.clone()).await?;
    check_init(&context, osf, &kind).await?;
    let complete = received.beside(&images, context.node(), ended).await?;
    let image = Image { osf, version: query.version, file: query.file, sha256, bytes, kind };
    // From here on it is brought to its end even if the one who sent it goes away.
    let commit = commit(context.0.clone(), peer, image, complete);
    let new = context
        .work()
        .spawn(commit)
        .await
        .map_err(|error| Fault::internal("the image was not registered", &error))??;
    Ok((StatusCode::CREATED, Json(new)))
}

/// What an image needs before the first byte of it is taken.
struct Ready {
    osf: OsfId,
    images: PathBuf,
    incoming: Incoming,
}

async fn prepare(context: &Context, query: &Add) -> Result<Ready, Fault> {
    let osf = check(context, query).await?;
    let images = super::images(context).await?;
    mounted(&images, &context.store().dis(TENANT).await?).await?;
    let staging = super::folder(context, "path.storage.staging").await?;
    let incoming = Incoming::open(&staging, context.node()).await?;
    Ok(Ready { osf, images, incoming })
}

/// What can be said before the file is here.
async fn check(context: &Context, query: &Add) -> Result<OsfId, Fault> {
    for name in std::iter::once(&query.file).chain(&query.version) {
        name.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    }
    image::check_name(&query.file)?;
    let osf = osfs::named(context, query.osf.as_deref(), query.osf_id).await?;
    if let Some(version) = &query.version {
        let tags = context.store().tags_of(osf.id).await?;
        if tags.iter().any(|tag| tag.name == *version) {
            return Err(store::Error::Exists { noun: "tag", name: version.clone() }.into());
        }
    }
    Ok(osf.id)
}

/// Refuses an image without an init for an OSF that wants the image's.
async fn check_init(context: &Context, osf: OsfId, kind: &ImageKind) -> Result<(), Fault> {
    let wanted = context.store().osf(osf).await?.is_some_and(|osf| osf.init == Init::Image);
    if wanted && kind.init == ImageKind::NO_INIT {
        let missing = "there is no /sbin/init in it, and its OSF has init=image".to_owned();
        return Err(Refusal::NoInit { missing }.into());
    }
    Ok(())
}

async fn look_through(
    received: Received,
    name: String,
    ended: CancellationToken,
) -> Result<(ImageKind, Received), Fault> {
    let looked = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(received.path())
            .map_err(|error| Fault::internal("the image cannot be read again", &error))?;
        let file = Until::new(file, ended.clone());
        let kind = image::inspect(file, &name, Limits::default(), std::env::consts::ARCH);
        // One that was not read to its end looks damaged.
        if ended.is_cancelled() {
            return Err(ending());
        }
        Ok((kind?, received))
    });
    looked.await.map_err(|error| Fault::internal("the image was not looked through", &error))?
}

/// An image that was found good.
struct Image {
    osf: OsfId,
    version: Option<String>,
    file: String,
    sha256: String,
    bytes: u64,
    kind: ImageKind,
}

async fn commit(
    context: Arc<Context>,
    peer: Peer,
    image: Image,
    complete: Complete,
) -> Result<NewDi, Fault> {
    let Image { osf, version, file, sha256, bytes, kind } = image;
    let warnings = image::warnings(&kind);
    let kind = serde_json::to_string(&kind)
        .map_err(|error| Fault::internal("what was found cannot be noted", &error))?;
    let today = jiff::Zoned::now().date();
    let day = (today.year(), today.month(), today.day());
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let (store, version) = (context.store(), version.as_deref());
    let di = store
        .add_di(context.now(), TENANT, osf, version, day, &file, &sha256, bytes, &kind)
        .await?;
    if let Err(fault) = complete.name(&di.path).await {
        store.delete_di(di.id).await?;
        return Err(fault);
    }
    let di = super::find(&context, di.id).await?;
    context.audit(peer, "di add", di.path.clone(), Change::to(&di)).await;
    tracing::info!(di = di.id, path = di.path, bytes = di.bytes, "image registered");
    Ok(NewDi { di, warnings })
}
