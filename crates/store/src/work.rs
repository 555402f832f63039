//! Everything a host needs to know of its VMs, in one look.

use std::collections::HashMap;

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

impl Store {
    /// Whether any VM was ever started, on whichever host.
    pub async fn any_started(&self) -> Result<bool> {
        const COUNT: &str = "SELECT COUNT(*) FROM vm_desired WHERE run > 0";
        let count: i64 = read!(self, on => sqlx::query_scalar(COUNT).fetch_one(on).await)?;
        Ok(count > 0)
    }

    /// All VMs that a host is named for or has seen, in the order of their ids, as of one moment.
    pub async fn host_work(&self, host: HostId) -> Result<Vec<Work>> {
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
        const OSFS: &str = "SELECT id, tenant, name, memory, user_storage_size, nesting FROM osfs
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
                observed: by_key(observed, |row: &Observed| row.vm)?,
                vms: by_key(vms, |row: &Vm| row.id)?,
                users: by_key(users, |row: &User| row.id)?,
                osfs: osfs.into_iter().map(Osf::from).map(|osf| (osf.id, osf)).collect(),
                dis: dis.into_iter().map(Di::from).map(|di| (di.id, di)).collect(),
            };
            (desired, parts)
        });
        desired.into_iter().map(|row| parts.work(row.try_into()?)).collect()
    }
}

/// The rows that belong to what is wanted, each by its id.
struct Parts {
    observed: HashMap<VmId, Observed>,
    vms: HashMap<VmId, Vm>,
    users: HashMap<UserId, User>,
    osfs: HashMap<OsfId, Osf>,
    dis: HashMap<DiId, Di>,
}

impl Parts {
    /// Puts together what belongs to one VM. The references are the schema's own, so a missing
    /// part means a damaged database.
    fn work(&self, desired: Desired) -> Result<Work> {
        let vm = self.vms.get(&desired.vm);
        let vm = vm.ok_or_else(|| Error::row("vm_desired", &desired.vm, "vm"))?;
        let user = self.users.get(&vm.user);
        let osf = self.osfs.get(&vm.osf);
        Ok(Work {
            vm: vm.clone(),
            user: user.ok_or_else(|| Error::row("vms", &vm.id, "user_id"))?.clone(),
            osf: osf.ok_or_else(|| Error::row("vms", &vm.id, "osf"))?.clone(),
            di: desired.di.and_then(|di| self.dis.get(&di)).cloned(),
            observed: self.observed.get(&desired.vm).cloned(),
            desired,
        })
    }
}

fn by_key<R, T, K>(rows: Vec<R>, key: impl Fn(&T) -> K) -> Result<HashMap<K, T>>
where
    T: TryFrom<R, Error = Error>,
    K: std::hash::Hash + Eq,
{
    rows.into_iter()
        .map(|row| {
            let value = T::try_from(row)?;
            Ok((key(&value), value))
        })
        .collect()
}
