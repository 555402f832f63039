//! Everything a host needs to know of its VMs, in one look.

use std::{collections::HashMap, hash::Hash};

use model::{
    DiId, HostId, OsfId, UserId, VmId,
    di::Di,
    osf::Osf,
    user::User,
    vm::{Desired, Observed, Vm},
};

use crate::{
    database::{Store, read, snapshot},
    desired::DesiredRow,
    dis::DiRow,
    error::{Error, Result},
    observed::ObservedRow,
    osfs::OsfRow,
    users::UserRow,
    vms::VmRow,
};

/// A VM that concerns a host: it is wanted there, or was seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is wanted. Its host may be another one by now.
    pub desired: Desired,
    /// The VM.
    pub vm: Vm,
    /// Whose it is.
    pub user: User,
    /// Its line of images.
    pub osf: Osf,
    /// The image named in `desired`.
    pub di: Option<Di>,
    /// What this host saw.
    pub observed: Option<Observed>,
}

/// What a host is told.
#[derive(Debug, Default)]
pub struct HostWork {
    /// Its VMs, in the order of their ids.
    pub work: Vec<Work>,
    /// VMs of which a row makes no sense, and which: nothing may be done about them.
    pub unreadable: Vec<(VmId, Error)>,
}

impl Store {
    /// Whether any host has ever made anything of a VM. That one is wanted says nothing: its host may
    /// have died before it did anything.
    pub async fn any_started(&self) -> Result<bool> {
        const COUNT: &str = "SELECT COUNT(*) FROM vm_observed WHERE run > 0";
        let count: i64 = read!(self, on => sqlx::query_scalar(COUNT).fetch_one(on).await)?;
        Ok(count > 0)
    }

    /// All VMs that a host is named for or has seen, as of one moment.
    pub async fn host_work(&self, host: HostId) -> Result<HostWork> {
        const DESIRED: &str = "SELECT vm, power, host, di, run, revision, expires_soft,
                expires_hard, asked_by, asked_at
            FROM vm_desired
            WHERE host = $1 OR vm IN (SELECT vm FROM vm_observed WHERE host = $1)
            ORDER BY vm";
        const OBSERVED: &str = "SELECT vm, host, run, seen, seen_at, waiting_for, reason_code,
                reason_args, reason_since, attempts, next_try, ended_run, ended_kind, ended_at
            FROM vm_observed WHERE host = $1";
        const VMS: &str = "SELECT id, tenant, name, user_id, osf, tag, ip, blocked FROM vms
            WHERE id IN (SELECT vm FROM vm_desired WHERE host = $1
                         UNION SELECT vm FROM vm_observed WHERE host = $1)";
        const USERS: &str = "SELECT id, tenant, login, uid, gid, blocked FROM users
            WHERE id IN (SELECT user_id FROM vms WHERE id IN
                        (SELECT vm FROM vm_desired WHERE host = $1
                         UNION SELECT vm FROM vm_observed WHERE host = $1))";
        const OSFS: &str =
            "SELECT id, tenant, name, memory, user_storage_size, nesting, init FROM osfs
            WHERE id IN (SELECT osf FROM vms WHERE id IN
                        (SELECT vm FROM vm_desired WHERE host = $1
                         UNION SELECT vm FROM vm_observed WHERE host = $1))";
        const DIS: &str = "SELECT id, osf, version, file, sha256, bytes, kind, added_at FROM dis
            WHERE id IN (SELECT di FROM vm_desired WHERE host = $1
                            OR vm IN (SELECT vm FROM vm_observed WHERE host = $1))";
        let (desired, parts) = snapshot!(self, on => {
            let desired: Vec<DesiredRow> =
                sqlx::query_as(DESIRED).bind(host.0).fetch_all(&mut *on).await?;
            let observed: Vec<ObservedRow> =
                sqlx::query_as(OBSERVED).bind(host.0).fetch_all(&mut *on).await?;
            let vms: Vec<VmRow> = sqlx::query_as(VMS).bind(host.0).fetch_all(&mut *on).await?;
            let users: Vec<UserRow> =
                sqlx::query_as(USERS).bind(host.0).fetch_all(&mut *on).await?;
            let osfs: Vec<OsfRow> =
                sqlx::query_as(OSFS).bind(host.0).fetch_all(&mut *on).await?;
            let dis: Vec<DiRow> = sqlx::query_as(DIS).bind(host.0).fetch_all(&mut *on).await?;
            let parts = Parts {
                observed: by_key(observed, |row| VmId(row.vm)),
                vms: by_key(vms, |row| VmId(row.id)),
                users: by_key(users, |row| UserId(row.id)),
                osfs: osfs.into_iter().map(Osf::from).map(|osf| (osf.id, osf)).collect(),
                dis: dis.into_iter().map(Di::from).map(|di| (di.id, di)).collect(),
            };
            (desired, parts)
        });
        let mut all = HostWork::default();
        for row in desired {
            let vm = VmId(row.vm);
            match row.try_into().and_then(|desired| parts.work(desired)) {
                Ok(work) => all.work.push(work),
                Err(error) => all.unreadable.push((vm, error)),
            }
        }
        Ok(all)
    }
}

/// The rows that belong to what is wanted, each by its id.
struct Parts {
    observed: HashMap<VmId, Result<Observed>>,
    vms: HashMap<VmId, Result<Vm>>,
    users: HashMap<UserId, Result<User>>,
    osfs: HashMap<OsfId, Osf>,
    dis: HashMap<DiId, Di>,
}

impl Parts {
    /// Puts together what belongs to one VM. The references are the schema's own, so a missing
    /// part means a damaged database.
    fn work(&self, desired: Desired) -> Result<Work> {
        let missing = || Error::row("vm_desired", &desired.vm, "vm");
        let vm = part(&self.vms, &desired.vm)?.ok_or_else(missing)?;
        let user = part(&self.users, &vm.user)?;
        let osf = self.osfs.get(&vm.osf);
        Ok(Work {
            user: user.ok_or_else(|| Error::row("vms", &vm.id, "user_id"))?.clone(),
            osf: osf.ok_or_else(|| Error::row("vms", &vm.id, "osf"))?.clone(),
            vm: vm.clone(),
            di: desired.di.and_then(|di| self.dis.get(&di)).cloned(),
            observed: part(&self.observed, &desired.vm)?.cloned(),
            desired,
        })
    }
}

/// A part by its key, if it is there.
fn part<'a, K: Eq + Hash, T>(parts: &'a HashMap<K, Result<T>>, key: &K) -> Result<Option<&'a T>> {
    match parts.get(key) {
        None => Ok(None),
        Some(Ok(found)) => Ok(Some(found)),
        Some(Err(Error::Row { table, row, column })) => Err(Error::row(table, row, column)),
        // Rows become types by this alone.
        Some(Err(other)) => Err(Error::row("vm_desired", &other.to_string(), "part")),
    }
}

fn by_key<R, T, K>(rows: Vec<R>, key: impl Fn(&R) -> K) -> HashMap<K, Result<T>>
where
    T: TryFrom<R, Error = Error>,
    K: Hash + Eq,
{
    rows.into_iter().map(|row| (key(&row), T::try_from(row))).collect()
}
