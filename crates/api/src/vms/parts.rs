//! A VM with everything that belongs to it.

use std::collections::HashMap;

use model::{
    Phase, Timestamp, VmId,
    di::Di,
    host::{Host, HostStatus},
    osf::Osf,
    user::User,
    vm::{Desired, Observed, Vm},
};
use store::{Connection, Store};
use wire::rest;

use crate::{context::TENANT, standing::Standing};

/// A VM and its relations.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) vm: Vm,
    pub(crate) user: User,
    pub(crate) osf: Osf,
    /// The image its tag leads to.
    pub(crate) tagged: Option<Di>,
    /// The image of the run that is wanted, or was last.
    pub(crate) started: Option<Di>,
    pub(crate) standing: Standing,
    pub(crate) connection: Option<Connection>,
}

impl Parts {
    /// As it is shown.
    pub(crate) fn body(&self, now: Timestamp) -> rest::Vm {
        let (phase, reason) = self.standing.phase(now);
        let desired = &self.standing.desired;
        let started = self.started.as_ref().filter(|_| phase != Phase::Stopped);
        let connection = self.connection.as_ref();
        rest::Vm {
            id: self.vm.id.0,
            name: self.vm.name.clone(),
            user_id: self.user.id.0,
            user: self.user.login.clone(),
            osf_id: self.osf.id.0,
            osf: self.osf.name.clone(),
            memory: self.osf.memory,
            user_storage_size: self.osf.user_storage_size,
            di_tag: self.vm.tag.clone(),
            di_id: self.tagged.as_ref().map(|di| di.id.0),
            di: self.tagged.as_ref().map(|di| di.version.clone()),
            running_di_id: started.map(|di| di.id.0),
            running_di: started.map(|di| di.version.clone()),
            ip: self.vm.ip.to_string(),
            blocked: self.vm.blocked,
            host_id: desired.host.map(|host| host.0),
            host: self.standing.host.as_ref().map(|host| host.name.clone()),
            state: phase.as_str().to_owned(),
            reason: reason.as_ref().map(super::reason),
            client: connection.map(|connection| connection.client.clone()),
            client_since: connection.map(|connection| connection.since.0),
            expire_soft: desired.expires_soft.map(|at| at.0),
            expire_hard: desired.expires_hard.map(|at| at.0),
            run: desired.run.0,
            revision: desired.revision.0,
        }
    }
}

/// One VM; none when it is not there (or goes while it is looked at).
pub(crate) async fn one(store: &Store, id: VmId) -> Result<Option<Parts>, store::Error> {
    let Some(vm) = store.vm(id).await? else { return Ok(None) };
    let Some(standing) = Standing::read(store, id).await? else { return Ok(None) };
    let (user, osf) = (store.user(vm.user).await?, store.osf(vm.osf).await?);
    let (Some(user), Some(osf)) = (user, osf) else { return Ok(None) };
    let tagged = store.resolve_tag(vm.osf, &vm.tag).await?;
    let started = match standing.desired.di {
        Some(di) => store.di(di).await?,
        None => None,
    };
    let connection = store.newest_connection(id).await?.filter(|connection| !connection.ended);
    Ok(Some(Parts { vm, user, osf, tagged, started, standing, connection }))
}

/// All VMs, in the order of their ids.
pub(crate) async fn all(store: &Store) -> Result<Vec<Parts>, store::Error> {
    let vms = store.vms(TENANT).await?;
    let tables = Tables::read(store).await?;
    Ok(vms.into_iter().filter_map(|vm| tables.of(vm)).collect())
}

/// The tables that VMs refer to, by what they are found by.
struct Tables {
    users: HashMap<i64, User>,
    osfs: HashMap<i64, Osf>,
    dis: HashMap<i64, Di>,
    tags: HashMap<(i64, String), i64>,
    desired: HashMap<i64, Desired>,
    observed: HashMap<i64, Vec<Observed>>,
    connections: HashMap<i64, Connection>,
    hosts: Vec<Host>,
    statuses: Vec<HostStatus>,
}

impl Tables {
    async fn read(store: &Store) -> Result<Self, store::Error> {
        let mut observed: HashMap<i64, Vec<Observed>> = HashMap::new();
        for row in store.all_observed().await? {
            observed.entry(row.vm.0).or_default().push(row);
        }
        let tags = store.tags().await?.into_iter().map(|tag| ((tag.osf.0, tag.name), tag.di.0));
        Ok(Self {
            users: by(store.users(TENANT).await?, |user| user.id.0),
            osfs: by(store.osfs(TENANT).await?, |osf| osf.id.0),
            dis: by(store.dis(TENANT).await?, |di| di.id.0),
            tags: tags.collect(),
            desired: by(store.all_desired().await?, |desired| desired.vm.0),
            observed,
            connections: by(store.connections().await?, |connection| connection.vm.0),
            hosts: store.hosts().await?,
            statuses: store.host_statuses().await?,
        })
    }

    fn of(&self, vm: Vm) -> Option<Parts> {
        let desired = self.desired.get(&vm.id.0)?.clone();
        let di = |id: Option<&i64>| id.and_then(|id| self.dis.get(id)).cloned();
        let observed = self.observed.get(&vm.id.0).cloned().unwrap_or_default();
        Some(Parts {
            user: self.users.get(&vm.user.0)?.clone(),
            osf: self.osfs.get(&vm.osf.0)?.clone(),
            tagged: di(self.tags.get(&(vm.osf.0, vm.tag.clone()))),
            started: di(desired.di.map(|di| di.0).as_ref()),
            standing: Standing::new(desired, observed, &self.hosts, &self.statuses),
            connection: self.connections.get(&vm.id.0).cloned(),
            vm,
        })
    }
}

fn by<T>(items: Vec<T>, key: impl Fn(&T) -> i64) -> HashMap<i64, T> {
    items.into_iter().map(|item| (key(&item), item)).collect()
}
