//! The nodes that run VMs. Written by the api.

use model::{HostId, host::Host};

use crate::{
    database::{Store, change, read},
    error::{Error, Result, Violated},
    row,
};

#[derive(sqlx::FromRow)]
struct HostRow {
    id: i64,
    name: String,
    address: String,
    blocked: bool,
}

impl From<HostRow> for Host {
    fn from(row: HostRow) -> Self {
        Self { id: HostId(row.id), name: row.name, address: row.address, blocked: row.blocked }
    }
}

impl Store {
    /// Adds a host.
    pub async fn add_host(&self, name: &str, address: &str) -> Result<Host> {
        const ADD: &str = "INSERT INTO hosts (name, address, blocked) VALUES ($1, $2, FALSE)
            RETURNING id, name, address, blocked";
        let row: HostRow = change!(self, on => {
            sqlx::query_as(ADD)
                .bind(name)
                .bind(address)
                .fetch_one(&mut *on)
                .await
                .or_exists("host", name)?
        });
        Ok(row.into())
    }

    /// All hosts, in the order of their ids.
    pub async fn hosts(&self) -> Result<Vec<Host>> {
        const FIND: &str = "SELECT id, name, address, blocked FROM hosts ORDER BY id";
        let rows: Vec<HostRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Host::from).collect())
    }

    /// The host with a name.
    pub async fn host_by_name(&self, name: &str) -> Result<Option<Host>> {
        const FIND: &str = "SELECT id, name, address, blocked FROM hosts WHERE name = $1";
        let row: Option<HostRow> =
            read!(self, on => sqlx::query_as(FIND).bind(name).fetch_optional(on).await)?;
        Ok(row.map(Host::from))
    }

    /// Removes a host with all it said of itself. Refused while a VM is wanted or seen on it.
    pub async fn delete_host(&self, id: HostId) -> Result<()> {
        // Changes the rows first, so that nobody wants a VM here meanwhile.
        const FORGET: &str = "UPDATE vm_desired SET host = NULL, revision = revision + 1
            WHERE host = $1 AND power = 'off'";
        const VMS: &str = "SELECT name FROM vms
            WHERE id IN (SELECT vm FROM vm_desired WHERE host = $1)
               OR id IN (SELECT vm FROM vm_observed WHERE host = $1 AND seen <> 'nothing')
            ORDER BY id";
        const SETTINGS: &str = "DELETE FROM configs WHERE host = $1";
        const DELETE: &str = "DELETE FROM hosts WHERE id = $1";
        change!(self, on => {
            sqlx::query(FORGET).bind(id.0).execute(&mut *on).await?;
            let vms: Vec<String> =
                sqlx::query_scalar(VMS).bind(id.0).fetch_all(&mut *on).await?;
            if !vms.is_empty() {
                return Err(Error::in_use("host", &id, row::list("VM", &vms)));
            }
            sqlx::query(SETTINGS).bind(id.0).execute(&mut *on).await?;
            let done = sqlx::query(DELETE)
                .bind(id.0)
                .execute(&mut *on)
                .await
                .or_in_use("host", id, "a VM")?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("host", &id));
            }
        });
        Ok(())
    }

    /// Blocks a host or opens it again.
    pub async fn set_host_blocked(&self, id: HostId, blocked: bool) -> Result<()> {
        const SET: &str = "UPDATE hosts SET blocked = $2 WHERE id = $1";
        change!(self, on => {
            let done = sqlx::query(SET).bind(id.0).bind(blocked).execute(&mut *on).await?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("host", &id));
            }
        });
        Ok(())
    }
}
