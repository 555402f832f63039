//! `/vms`.

pub(crate) mod parts;
pub(crate) mod wait;

use axum::Json;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::{
    Phase, Reason, Revision, VmId,
    di::{self, Name},
    network::VmNetwork,
    settings::{BadSetting, Settings},
    vm,
};
use store::VmEdit;
use wire::rest::{self, DeletedVm, EditVm, NewVm, Vm, Why};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::{Body, Path, Query},
    fault::Fault,
    filter::{Fields, Wanted},
    osfs,
    peer::Peer,
    power, users,
};
use parts::Parts;

impl Fields for Vm {
    const KEYS: &'static [&'static str] = &[
        "id",
        "name",
        "user",
        "user_id",
        "osf",
        "osf_id",
        "memory",
        "use_overlay",
        "user_storage_size",
        "ip",
        "di_tag",
        "di",
        "host",
        "host_id",
        "state",
        "user_state",
        "blocked",
    ];
    const LATER: &'static [&'static str] = &["vm_pid"];

    fn values(&self, key: &str) -> Vec<String> {
        let connected = if self.client.is_some() { "connected" } else { "disconnected" };
        match key {
            "id" => vec![self.id.to_string()],
            "name" => vec![self.name.clone()],
            "user" => vec![self.user.clone()],
            "user_id" => vec![self.user_id.to_string()],
            "osf" => vec![self.osf.clone()],
            "osf_id" => vec![self.osf_id.to_string()],
            "memory" => vec![self.memory.to_string()],
            // Every VM writes to an overlay of its own.
            "use_overlay" => vec!["1".to_owned()],
            "user_storage_size" => self.user_storage_size.iter().map(i64::to_string).collect(),
            "ip" => vec![self.ip.clone()],
            "di_tag" => vec![self.di_tag.clone()],
            "di" => self.di.iter().cloned().collect(),
            "host" => self.host.iter().cloned().collect(),
            "host_id" => self.host_id.iter().map(i64::to_string).collect(),
            "state" => vec![self.state.clone()],
            "user_state" => vec![connected.to_owned()],
            _ => vec![u8::from(self.blocked).to_string()],
        }
    }
}

/// A reason as it is shown.
pub(crate) fn reason(reason: &Reason) -> rest::Reason {
    rest::Reason {
        code: reason.code.as_str().to_owned(),
        text: reason.text(),
        remedy: reason.remedy(),
        since: reason.since.0,
    }
}

pub(crate) async fn list(context: Shared, wanted: Query<Wanted>) -> Result<Json<Vec<Vm>>, Fault> {
    let vms = parts::all(context.store()).await?;
    let now = context.now();
    wanted.0.of(vms.iter().map(|vm| vm.body(now)).collect()).map(Json)
}

pub(crate) async fn add(
    context: Shared,
    peer: Peer,
    Body(new): Body<NewVm>,
) -> Result<(StatusCode, Json<Vm>), Fault> {
    let store = context.store();
    let tag = new.di_tag.unwrap_or_else(|| di::DEFAULT.to_owned());
    for name in [&new.name, &tag] {
        name.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    }
    let user = users::named(&context, new.user.as_deref(), new.user_id).await?;
    let osf = osfs::named(&context, new.osf.as_deref(), new.osf_id).await?;
    let ip = new.ip.as_deref().map(address).transpose()?;
    let network = network(&context.settings().await?)?;
    let vm =
        store.add_vm(context.now(), TENANT, &new.name, user.id, osf.id, &tag, ip, &network).await?;
    let body = find(&context, vm.id.0).await?.body(context.now());
    context.audit(peer, "vm add", body.name.clone(), Change::to(&body)).await;
    Ok((StatusCode::CREATED, Json(body)))
}

pub(crate) async fn edit(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    Body(new): Body<EditVm>,
) -> Result<(HeaderMap, Json<Vm>), Fault> {
    for name in [&new.name, &new.di_tag].into_iter().flatten() {
        name.parse::<Name>().map_err(|bad| Fault::malformed(bad.to_string()))?;
    }
    let ip = new.ip.as_deref().map(address).transpose()?;
    if let Some(ip) = ip {
        let network = network(&context.settings().await?)?;
        if !network.is_for_vms(ip) {
            let (first, last) = (network.start, network.broadcast());
            return Err(store::Error::BadAddress { ip, first, last }.into());
        }
    }
    let vm = find(&context, id).await?;
    if ip.is_some_and(|ip| ip != vm.vm.ip) {
        settle(&context, &vm, peer).await?;
    }
    let before = vm.body(context.now());
    let edit = VmEdit { name: new.name, tag: new.di_tag, blocked: new.blocked, ip };
    context.store().edit_vm(VmId(id), &edit).await?;
    let after = find(&context, id).await?.body(context.now());
    context.audit(peer, "vm edit", before.name.clone(), Change::between(&before, &after)).await;
    tagged(after)
}

pub(crate) async fn delete(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
) -> Result<Json<DeletedVm>, Fault> {
    let vm = find(&context, id).await?;
    settle(&context, &vm, peer).await?;
    context.store().delete_vm(vm.vm.id).await?;
    let homes = context.settings().await?.get("path.storage.homefs")?;
    let home = vm.osf.has_home().then(|| format!("{homes}/{}-fs", vm.vm.id));
    let body = vm.body(context.now());
    context.audit(peer, "vm del", body.name.clone(), Change::from(&body)).await;
    Ok(Json(DeletedVm { id, name: body.name, home }))
}

/// One that shut itself down is still wanted on, which would keep it from going.
async fn settle(context: &Context, vm: &Parts, peer: Peer) -> Result<(), Fault> {
    if vm.standing.phase(context.now()).0 == Phase::Stopped {
        power::stop(context, vm.vm.id, &peer.who(), None).await?;
    }
    Ok(())
}

pub(crate) async fn start(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<Vm>), Fault> {
    let expected = if_match(&headers)?;
    let vm = find(&context, id).await?;
    if power::start(&context, &vm.vm, &peer.who(), expected).await?.written {
        context.audit(peer, "vm start", vm.vm.name, Change::default()).await;
    }
    tagged(find(&context, id).await?.body(context.now()))
}

pub(crate) async fn stop(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<Vm>), Fault> {
    let expected = if_match(&headers)?;
    let vm = find(&context, id).await?;
    if power::stop(&context, vm.vm.id, &peer.who(), expected).await?.written {
        context.audit(peer, "vm stop", vm.vm.name, Change::default()).await;
    }
    tagged(find(&context, id).await?.body(context.now()))
}

pub(crate) async fn why(context: Shared, Path(id): Path<i64>) -> Result<Json<Why>, Fault> {
    let vm = find(&context, id).await?;
    let now = context.now();
    let standing = &vm.standing;
    let seen = standing.observed.as_ref();
    let asked = !standing.desired.asked_by.is_empty();
    Ok(Json(Why {
        asked_by: asked.then(|| standing.desired.asked_by.clone()),
        asked_at: asked.then_some(standing.desired.asked_at.0),
        waiting_for: standing.doing(),
        attempts: seen.map_or(0, |row| row.attempts),
        next_try: seen.and_then(|row| row.next_try).map(|at| at.0),
        seen_at: seen.map(|row| row.seen_at.0),
        host_alive: standing.host_alive(now),
        vm: vm.body(now),
    }))
}

async fn find(context: &Context, id: i64) -> Result<Parts, Fault> {
    parts::one(context.store(), VmId(id)).await?.ok_or_else(|| Fault::not_found("VM", id))
}

/// The body with its revision as `ETag`.
fn tagged(body: Vm) -> Result<(HeaderMap, Json<Vm>), Fault> {
    let tag = HeaderValue::from_str(&etag(&body))
        .map_err(|error| Fault::internal("the answer cannot be made", &error))?;
    Ok((HeaderMap::from_iter([(header::ETAG, tag)]), Json(body)))
}

fn etag(body: &Vm) -> String {
    format!("\"{}\"", body.revision)
}

/// `If-Match`: the revision that must still be the newest. `*` is any.
fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Fault> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = tag.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match number.and_then(|number| number.parse().ok()) {
        Some(revision) => Ok(Some(Revision(revision))),
        // No tag of ours: it can be nothing that was seen here.
        None => Err(power::Cannot::Changed.into()),
    }
}

fn address(text: &str) -> Result<std::net::Ipv4Addr, Fault> {
    text.parse().map_err(|_| Fault::malformed(format!("`{text}` is not an IPv4 address")))
}

/// The network of the VMs as the settings have it.
pub(crate) fn network(settings: &Settings) -> Result<VmNetwork, Fault> {
    let bad = |error: &dyn std::fmt::Display| {
        Fault::new(StatusCode::CONFLICT, "bad-network", error.to_string())
            .remedy("set vm.network.ip.start, vm.network.netmask and vm.network.gateway")
    };
    let read = || -> Result<_, BadSetting> {
        Ok((
            settings.ipv4("vm.network.ip.start")?,
            settings.get("vm.network.netmask")?,
            settings.get("vm.network.gateway")?,
        ))
    };
    let (start, netmask, gateway) = read().map_err(|error| bad(&error))?;
    let gateway = match gateway.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| bad(&format!("`{text}` is no gateway address")))?),
    };
    VmNetwork::new(start, &netmask, gateway).map_err(|error| bad(&error))
}

/// The word for a phase that clients of the family know.
pub(crate) fn client_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Stopped | Phase::Failed => "stopped",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping => "stopping",
        Phase::Lost => "zombie",
    }
}

/// A VM as a client's list has it.
pub(crate) fn line(vm: &vm::Vm, phase: Phase) -> wire::broker::VmLine {
    wire::broker::VmLine {
        id: vm.id.0,
        name: vm.name.clone(),
        state: client_word(phase).to_owned(),
        blocked: vm.blocked,
    }
}
