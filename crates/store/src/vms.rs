//! The virtual machines. Written by the api.

use std::{collections::HashSet, net::Ipv4Addr};

use model::{OsfId, TenantId, Timestamp, UserId, VmId, network::VmNetwork, vm::Vm};

use crate::{
    database::{Store, change, read},
    error::{Error, Result, Violated},
    row,
};

/// The hosts that see anything of a run of a VM.
const HOSTS: &str = "SELECT name FROM hosts WHERE id IN
        (SELECT host FROM vm_observed WHERE vm = $1 AND seen <> 'nothing')
    ORDER BY id";

#[derive(sqlx::FromRow)]
pub(crate) struct VmRow {
    pub(crate) id: i64,
    tenant: i64,
    name: String,
    user_id: i64,
    osf: i64,
    tag: String,
    ip: String,
    blocked: bool,
}

impl TryFrom<VmRow> for Vm {
    type Error = Error;

    fn try_from(row: VmRow) -> Result<Self> {
        let ip = row.ip.parse().map_err(|_| Error::row("vms", &row.id, "ip"))?;
        Ok(Self {
            id: VmId(row.id),
            tenant: TenantId(row.tenant),
            name: row.name,
            user: UserId(row.user_id),
            osf: OsfId(row.osf),
            tag: row.tag,
            ip,
            blocked: row.blocked,
        })
    }
}

/// What is to change of a VM; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VmEdit {
    /// A new name.
    pub name: Option<String>,
    /// Another tag to follow from the next start on.
    pub tag: Option<String>,
    /// Offline for maintenance or not.
    pub blocked: Option<bool>,
    /// Another address. Only a VM of which nothing runs can get one.
    pub ip: Option<Ipv4Addr>,
}

impl Store {
    /// Adds a VM of a user and an OSF of the same tenant, with the address asked for or the highest
    /// free one, and with a row in `vm_desired` that wants it off.
    #[expect(clippy::too_many_arguments, reason = "a VM is what it is")]
    pub async fn add_vm(
        &self,
        now: Timestamp,
        tenant: TenantId,
        name: &str,
        user: UserId,
        osf: OsfId,
        tag: &str,
        ip: Option<Ipv4Addr>,
        network: &VmNetwork,
    ) -> Result<Vm> {
        // From here to the end of the transaction nobody else gives addresses.
        const HOLD: &str = "UPDATE counters SET value = value + 1 WHERE name = 'address'";
        const USER: &str = "SELECT id FROM users WHERE id = $1 AND tenant = $2";
        const OSF: &str = "SELECT id FROM osfs WHERE id = $1 AND tenant = $2";
        const TAKEN: &str = "SELECT ip FROM vms";
        const ADD: &str = "INSERT INTO vms (tenant, name, user_id, osf, tag, ip, blocked, added_at)
            VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7)
            RETURNING id, tenant, name, user_id, osf, tag, ip, blocked";
        const WANT: &str = "INSERT INTO vm_desired (vm, power, run, revision, asked_by, asked_at)
            VALUES ($1, 'off', 0, 0, '', $2)";
        let row: VmRow = change!(self, on => {
            sqlx::query(HOLD).execute(&mut *on).await?;
            for (noun, find, id) in [("user", USER, user.0), ("OSF", OSF, osf.0)] {
                let found: Option<i64> = sqlx::query_scalar(find)
                    .bind(id)
                    .bind(tenant.0)
                    .fetch_optional(&mut *on)
                    .await?;
                found.ok_or_else(|| Error::not_found(noun, &id))?;
            }
            let taken: Vec<String> = sqlx::query_scalar(TAKEN).fetch_all(&mut *on).await?;
            let ip = choose_address(ip, network, &taken)?;
            let row: VmRow = sqlx::query_as(ADD)
                .bind(tenant.0)
                .bind(name)
                .bind(user.0)
                .bind(osf.0)
                .bind(tag)
                .bind(ip.to_string())
                .bind(now.0)
                .fetch_one(&mut *on)
                .await
                .or_exists("VM", name)
                .or_missing("user or OSF", name)?;
            sqlx::query(WANT).bind(row.id).bind(now.0).execute(&mut *on).await?;
            row
        });
        row.try_into()
    }

    /// All VMs of a tenant, in the order of their ids.
    pub async fn vms(&self, tenant: TenantId) -> Result<Vec<Vm>> {
        const FIND: &str = "SELECT id, tenant, name, user_id, osf, tag, ip, blocked FROM vms
            WHERE tenant = $1 ORDER BY id";
        let rows: Vec<VmRow> =
            read!(self, on => sqlx::query_as(FIND).bind(tenant.0).fetch_all(on).await)?;
        row::all(rows)
    }

    /// All VMs of a user, in the order of their ids.
    pub async fn vms_of_user(&self, user: UserId) -> Result<Vec<Vm>> {
        const FIND: &str = "SELECT id, tenant, name, user_id, osf, tag, ip, blocked FROM vms
            WHERE user_id = $1 ORDER BY id";
        let rows: Vec<VmRow> =
            read!(self, on => sqlx::query_as(FIND).bind(user.0).fetch_all(on).await)?;
        row::all(rows)
    }

    /// The VM with an id.
    pub async fn vm(&self, id: VmId) -> Result<Option<Vm>> {
        const FIND: &str = "SELECT id, tenant, name, user_id, osf, tag, ip, blocked FROM vms
            WHERE id = $1";
        let row: Option<VmRow> =
            read!(self, on => sqlx::query_as(FIND).bind(id.0).fetch_optional(on).await)?;
        row::maybe(row)
    }

    /// Changes a VM. A running session goes on as it is. Another address is refused while the VM is
    /// wanted on, or while a host sees anything of a run of it: the next VM would get the address
    /// that is still in use. Whether an address lies in the network of the VMs is for the caller to
    /// check.
    pub async fn edit_vm(&self, id: VmId, edit: &VmEdit) -> Result<Vm> {
        const EDIT: &str = "UPDATE vms SET
                name = COALESCE($2, name), tag = COALESCE($3, tag),
                blocked = COALESCE($4, blocked), ip = COALESCE($5, ip)
            WHERE id = $1
            RETURNING id, tenant, name, user_id, osf, tag, ip, blocked";
        const ADDRESS: &str = "SELECT name FROM vms WHERE ip = $1 AND id <> $2";
        // Changes nothing but the right to go on: nobody wants it on meanwhile.
        const HOLD: &str = "UPDATE vm_desired SET power = power WHERE vm = $1 AND power = 'off'";
        const OWN: &str = "SELECT name, ip FROM vms WHERE id = $1";
        let ip = edit.ip.map(|ip| ip.to_string());
        let row: Option<VmRow> = change!(self, on => {
            if let Some(ip) = &ip {
                let holder: Option<String> = sqlx::query_scalar(ADDRESS)
                    .bind(ip)
                    .bind(id.0)
                    .fetch_optional(&mut *on)
                    .await?;
                if let Some(holder) = holder {
                    return Err(Error::in_use("address", &ip, format!("VM {holder}")));
                }
                let own: Option<(String, String)> =
                    sqlx::query_as(OWN).bind(id.0).fetch_optional(&mut *on).await?;
                let (name, own) = own.ok_or_else(|| Error::not_found("VM", &id))?;
                let off = sqlx::query(HOLD).bind(id.0).execute(&mut *on).await?;
                let hosts: Vec<String> =
                    sqlx::query_scalar(HOSTS).bind(id.0).fetch_all(&mut *on).await?;
                if own != *ip && (off.rows_affected() == 0 || !hosts.is_empty()) {
                    let by = format!("VM {name}: stop it first, and wait until it is stopped");
                    return Err(Error::in_use("address", &own, by));
                }
            }
            sqlx::query_as(EDIT)
                .bind(id.0)
                .bind(edit.name.as_deref())
                .bind(edit.tag.as_deref())
                .bind(edit.blocked)
                .bind(ip.as_deref())
                .fetch_optional(&mut *on)
                .await
                .or_exists("VM", edit.name.as_deref().or(ip.as_deref()).unwrap_or_default())?
        });
        row::maybe(row)?.ok_or_else(|| Error::not_found("VM", &id))
    }

    /// Removes a VM. Refused while it is wanted on, or while a host sees anything of a run of it.
    /// The home stays on disk; a host that still has an overlay of it removes that.
    pub async fn delete_vm(&self, id: VmId) -> Result<()> {
        const EXISTS: &str = "SELECT name FROM vms WHERE id = $1";
        // First, so that nobody can want it on meanwhile.
        const UNWANT: &str = "DELETE FROM vm_desired WHERE vm = $1 AND power = 'off'";
        const DELETE: &str = "DELETE FROM vms WHERE id = $1";
        change!(self, on => {
            let name: Option<String> =
                sqlx::query_scalar(EXISTS).bind(id.0).fetch_optional(&mut *on).await?;
            let name = name.ok_or_else(|| Error::not_found("VM", &id))?;
            let off = sqlx::query(UNWANT).bind(id.0).execute(&mut *on).await?;
            if off.rows_affected() == 0 {
                return Err(Error::in_use("VM", &name, "itself: it is to run; stop it first"));
            }
            let hosts: Vec<String> =
                sqlx::query_scalar(HOSTS).bind(id.0).fetch_all(&mut *on).await?;
            if !hosts.is_empty() {
                return Err(Error::in_use("VM", &name, row::list("host", &hosts)));
            }
            sqlx::query(DELETE).bind(id.0).execute(&mut *on).await?;
        });
        Ok(())
    }
}

/// The address asked for, if a VM may have it, or the highest free one.
fn choose_address(ip: Option<Ipv4Addr>, network: &VmNetwork, taken: &[String]) -> Result<Ipv4Addr> {
    let taken: HashSet<Ipv4Addr> = taken.iter().filter_map(|ip| ip.parse().ok()).collect();
    let (first, last) = (network.start, network.broadcast());
    match ip {
        None => network.free(&taken).ok_or(Error::NoAddress { first, last }),
        Some(ip) if !network.is_for_vms(ip) => Err(Error::BadAddress { ip, first, last }),
        Some(ip) if taken.contains(&ip) => {
            Err(Error::Exists { noun: "VM with the address", name: ip.to_string() })
        }
        Some(ip) => Ok(ip),
    }
}
