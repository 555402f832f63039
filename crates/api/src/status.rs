//! `/status`: the installation at a glance.

use axum::Json;
use model::Phase;
use wire::rest::Status;

use crate::{admin::Shared, context::TENANT, fault::Fault, vms::parts};

pub(crate) async fn get(context: Shared) -> Result<Json<Status>, Fault> {
    let store = context.store();
    let now = context.now();
    let hosts = store.hosts().await?;
    let statuses = store.host_statuses().await?;
    let vms = parts::all(store).await?;
    let count = |wanted: &[Phase]| {
        vms.iter().filter(|vm| wanted.contains(&vm.standing.phase(now).0)).count() as u64
    };
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hosts_alive: statuses.iter().filter(|status| status.alive(now)).count() as u64,
        hosts: hosts.len() as u64,
        users: store.users(TENANT).await?.len() as u64,
        osfs: store.osfs(TENANT).await?.len() as u64,
        dis: store.dis(TENANT).await?.len() as u64,
        vms: vms.len() as u64,
        vms_running: count(&[Phase::Running]),
        vms_failed: count(&[Phase::Failed, Phase::Lost]),
        connections: store.connections().await?.len() as u64,
    }))
}
