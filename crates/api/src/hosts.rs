//! `/hosts`.

use axum::Json;
use http::StatusCode;
use model::{
    HostId, Timestamp,
    host::{self, HostStatus},
    vm::{Desired, Power},
};
use wire::rest::{EditHost, Host, NewHost};

use crate::{
    admin::Shared,
    context::{Change, Context},
    extract::{Body, Path, Query},
    fault::Fault,
    filter::{Fields, Wanted},
    peer::Peer,
};

impl Fields for Host {
    const KEYS: &'static [&'static str] = &["id", "name", "address", "state", "blocked"];

    fn values(&self, key: &str) -> Vec<String> {
        match key {
            "id" => vec![self.id.to_string()],
            "name" => vec![self.name.clone()],
            "address" => vec![self.address.clone()],
            "state" => self.state.iter().cloned().collect(),
            _ => vec![u8::from(self.blocked).to_string()],
        }
    }
}

/// A host as it is shown.
pub(crate) fn body(
    host: host::Host,
    status: Option<&HostStatus>,
    wanted: &[Desired],
    now: Timestamp,
) -> Host {
    let alive = status.is_some_and(|status| status.alive(now));
    let silent = status
        .is_some_and(|status| now.millis_since(status.renewed_at) >= host::SILENT_AFTER_MILLIS);
    let on = wanted.iter().filter(|row| row.power == Power::On && row.host == Some(host.id));
    Host {
        id: host.id.0,
        name: host.name,
        address: host.address,
        blocked: host.blocked,
        alive,
        state: status.map(|status| if silent { "lost".to_owned() } else { status.state.clone() }),
        heard_at: status.map(|status| status.renewed_at.0),
        usable_cpu: status.map(|status| status.usable_cpu),
        usable_ram: status.map(|status| status.usable_ram),
        version: status.map(|status| status.version.clone()),
        vms: on.count() as u64,
        problems: status.map(|status| status.problems.clone()).unwrap_or_default(),
    }
}

pub(crate) async fn list(context: Shared, wanted: Query<Wanted>) -> Result<Json<Vec<Host>>, Fault> {
    wanted.0.of(all(&context).await?).map(Json)
}

async fn all(context: &Context) -> Result<Vec<Host>, Fault> {
    let store = context.store();
    let (hosts, statuses) = (store.hosts().await?, store.host_statuses().await?);
    let desired = store.all_desired().await?;
    let now = context.now();
    let bodies = hosts.into_iter().map(|host| {
        let status = statuses.iter().find(|status| status.host == host.id);
        body(host, status, &desired, now)
    });
    Ok(bodies.collect())
}

async fn find(context: &Context, id: i64) -> Result<Host, Fault> {
    let host = all(context).await?.into_iter().find(|host| host.id == id);
    host.ok_or_else(|| Fault::not_found("host", id))
}

pub(crate) async fn edit(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    Body(new): Body<EditHost>,
) -> Result<Json<Host>, Fault> {
    let before = find(&context, id).await?;
    context.store().set_host_blocked(HostId(id), new.blocked).await?;
    let after = find(&context, id).await?;
    context.audit(peer, "host edit", before.name.clone(), Change::between(&before, &after)).await;
    Ok(Json(after))
}

pub(crate) async fn add(
    context: Shared,
    peer: Peer,
    Body(new): Body<NewHost>,
) -> Result<(StatusCode, Json<Host>), Fault> {
    let plain = |text: &str| {
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    if !plain(&new.name) || !plain(&new.address) {
        return Err(Fault::malformed("a host needs a name and an address, both without spaces"));
    }
    let host = context.store().add_host(&new.name, &new.address).await?;
    let host = body(host, None, &[], context.now());
    context.audit(peer, "host add", host.name.clone(), Change::to(&host)).await;
    Ok((StatusCode::CREATED, Json(host)))
}
