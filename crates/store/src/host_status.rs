//! What each host says of itself. Written by that host.

use model::{HostId, Timestamp, host::HostStatus};

use crate::{
    database::{Store, change_if, read},
    error::{Error, Result, Violated},
    row,
};

#[derive(sqlx::FromRow, PartialEq)]
struct StatusRow {
    host: i64,
    renewed_at: i64,
    state: String,
    usable_cpu: f64,
    usable_ram: f64,
    version: String,
    problems: String,
}

impl From<&HostStatus> for StatusRow {
    fn from(status: &HostStatus) -> Self {
        Self {
            host: status.host.0,
            renewed_at: status.renewed_at.0,
            state: status.state.clone(),
            usable_cpu: status.usable_cpu,
            usable_ram: status.usable_ram,
            version: status.version.clone(),
            problems: serde_json::Value::from(status.problems.clone()).to_string(),
        }
    }
}

impl TryFrom<StatusRow> for HostStatus {
    type Error = Error;

    fn try_from(row: StatusRow) -> Result<Self> {
        let problems = serde_json::from_str(&row.problems)
            .map_err(|_| Error::row("host_status", &row.host, "problems"))?;
        Ok(Self {
            host: HostId(row.host),
            renewed_at: Timestamp(row.renewed_at),
            state: row.state,
            usable_cpu: row.usable_cpu,
            usable_ram: row.usable_ram,
            version: row.version,
            problems,
        })
    }
}

impl Store {
    /// Writes what a host says of itself, in place of what it said before. Others hear of it when it says
    /// more than that it still lives.
    pub async fn put_host_status(&self, status: &HostStatus) -> Result<()> {
        const PUT: &str = "INSERT INTO host_status
                (host, renewed_at, state, usable_cpu, usable_ram, version, problems)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (host) DO UPDATE SET
                renewed_at = excluded.renewed_at, state = excluded.state,
                usable_cpu = excluded.usable_cpu, usable_ram = excluded.usable_ram,
                version = excluded.version, problems = excluded.problems";
        const FIND: &str = "SELECT host, renewed_at, state, usable_cpu, usable_ram, version,
                problems
            FROM host_status WHERE host = $1";
        let row = StatusRow::from(status);
        change_if!(self, on => {
            let old: Option<StatusRow> =
                sqlx::query_as(FIND).bind(row.host).fetch_optional(&mut *on).await?;
            sqlx::query(PUT)
                .bind(row.host)
                .bind(row.renewed_at)
                .bind(&row.state)
                .bind(row.usable_cpu)
                .bind(row.usable_ram)
                .bind(&row.version)
                .bind(&row.problems)
                .execute(&mut *on)
                .await
                .or_missing("host", status.host)?;
            let old = old.map(|old| StatusRow { renewed_at: row.renewed_at, ..old });
            ((), old.as_ref() != Some(&row))
        });
        Ok(())
    }

    /// What every host last said of itself, in the order of their ids.
    pub async fn host_statuses(&self) -> Result<Vec<HostStatus>> {
        const FIND: &str = "SELECT host, renewed_at, state, usable_cpu, usable_ram, version,
                problems
            FROM host_status ORDER BY host";
        let rows: Vec<StatusRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        row::all(rows)
    }
}
