//! `/osfs`.

use axum::Json;
use http::StatusCode;
use model::{
    OsfId,
    di::Name,
    osf::{self, BadInit, Init},
};
use store::{NewOsf, OsfEdit};
use wire::rest::{self, EditOsf, Osf};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::{Body, Path, Query},
    fault::Fault,
    filter::{Fields, Wanted},
    peer::Peer,
};

/// The least and the most memory a VM may have, in MiB: the bounds of `osf.default.memory`.
const MEMORY: std::ops::RangeInclusive<i64> = 64..=1_048_576;

impl Fields for Osf {
    const KEYS: &'static [&'static str] =
        &["id", "name", "memory", "user_storage_size", "nesting", "init"];

    fn values(&self, key: &str) -> Vec<String> {
        match key {
            "id" => vec![self.id.to_string()],
            "name" => vec![self.name.clone()],
            "memory" => vec![self.memory.to_string()],
            "init" => vec![self.init.clone()],
            "nesting" => vec![u8::from(self.nesting).to_string()],
            _ => self.user_storage_size.iter().map(i64::to_string).collect(),
        }
    }
}

fn body(osf: osf::Osf) -> Osf {
    let osf::Osf { id, name, memory, user_storage_size, nesting, init, .. } = osf;
    Osf { id: id.0, name, memory, user_storage_size, nesting, init: init.as_str().to_owned() }
}

pub(crate) async fn list(context: Shared, wanted: Query<Wanted>) -> Result<Json<Vec<Osf>>, Fault> {
    let osfs = context.store().osfs(TENANT).await?;
    wanted.0.of(osfs.into_iter().map(body).collect()).map(Json)
}

pub(crate) async fn add(
    context: Shared,
    peer: Peer,
    Body(new): Body<rest::NewOsf>,
) -> Result<(StatusCode, Json<Osf>), Fault> {
    let memory = match new.memory {
        Some(memory) => memory,
        None => context.settings().await?.number("osf.default.memory")?,
    };
    check(Some(&new.name), Some(memory), new.user_storage_size)?;
    let new = NewOsf {
        name: &new.name,
        memory,
        user_storage_size: new.user_storage_size,
        nesting: new.nesting.unwrap_or(true),
        init: init(new.init.as_deref())?.unwrap_or_default(),
    };
    let osf = context.store().add_osf(TENANT, &new).await?;
    let osf = body(osf);
    context.audit(peer, "osf add", osf.name.clone(), Change::to(&osf)).await;
    Ok((StatusCode::CREATED, Json(osf)))
}

pub(crate) async fn edit(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    Body(new): Body<EditOsf>,
) -> Result<Json<Osf>, Fault> {
    check(new.name.as_deref(), new.memory, new.user_storage_size.flatten())?;
    let before = body(find(&context, id).await?);
    let edit = OsfEdit {
        name: new.name,
        memory: new.memory,
        user_storage_size: new.user_storage_size,
        nesting: new.nesting,
        init: init(new.init.as_deref())?,
    };
    let osf = body(context.store().edit_osf(OsfId(id), &edit).await?);
    context.audit(peer, "osf edit", before.name.clone(), Change::between(&before, &osf)).await;
    Ok(Json(osf))
}

pub(crate) async fn delete(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Fault> {
    let osf = body(find(&context, id).await?);
    context.store().delete_osf(OsfId(id)).await?;
    context.audit(peer, "osf del", osf.name.clone(), Change::from(&osf)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The OSF that is named in one of two ways.
pub(crate) async fn named(
    context: &Context,
    name: Option<&str>,
    id: Option<i64>,
) -> Result<osf::Osf, Fault> {
    match (name, id) {
        (Some(name), None) => {
            let osf = context.store().osf_by_name(TENANT, name).await?;
            osf.ok_or_else(|| Fault::not_found("OSF", name))
        }
        (None, Some(id)) => find(context, id).await,
        _ => Err(Fault::malformed("name the OSF with either osf or osf_id")),
    }
}

async fn find(context: &Context, id: i64) -> Result<osf::Osf, Fault> {
    context.store().osf(OsfId(id)).await?.ok_or_else(|| Fault::not_found("OSF", id))
}

fn init(word: Option<&str>) -> Result<Option<Init>, Fault> {
    let init = word.map(str::parse).transpose();
    init.map_err(|bad: BadInit| Fault::malformed(bad.to_string()))
}

fn check(name: Option<&str>, memory: Option<i64>, storage: Option<i64>) -> Result<(), Fault> {
    if let Some(name) = name {
        name.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    }
    if memory.is_some_and(|memory| !MEMORY.contains(&memory)) {
        let (least, most) = MEMORY.into_inner();
        return Err(Fault::malformed(format!("memory is from {least} to {most} MiB")));
    }
    if storage.is_some_and(|storage| storage < 0) {
        return Err(Fault::malformed("user_storage_size is a number of MiB, or 0 for no home"));
    }
    Ok(())
}
