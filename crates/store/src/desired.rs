//! What is wanted of each VM. Written by the api, and by hkd for the VMs of a host that is given
//! up: always by compare-and-set on the revision.

use model::{
    DiId, HostId, Revision, Run, Timestamp, VmId,
    vm::{Desired, Power},
};

use crate::{
    database::{Store, change_if, read},
    error::{Error, Result, Violated},
    row,
};

#[derive(sqlx::FromRow)]
pub(crate) struct DesiredRow {
    pub(crate) vm: i64,
    power: String,
    host: Option<i64>,
    di: Option<i64>,
    run: i64,
    revision: i64,
    expires_soft: Option<i64>,
    expires_hard: Option<i64>,
    asked_by: String,
    asked_at: i64,
}

impl TryFrom<DesiredRow> for Desired {
    type Error = Error;

    fn try_from(row: DesiredRow) -> Result<Self> {
        let power = match row.power.as_str() {
            "on" => Power::On,
            "off" => Power::Off,
            _ => return Err(Error::row("vm_desired", &row.vm, "power")),
        };
        Ok(Self {
            vm: VmId(row.vm),
            power,
            host: row.host.map(HostId),
            di: row.di.map(DiId),
            run: Run(row.run),
            revision: Revision(row.revision),
            expires_soft: row.expires_soft.map(Timestamp),
            expires_hard: row.expires_hard.map(Timestamp),
            asked_by: row.asked_by,
            asked_at: Timestamp(row.asked_at),
        })
    }
}

fn word(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
    }
}

impl Store {
    /// What is wanted of a VM; `None` when there is no such VM.
    pub async fn desired(&self, vm: VmId) -> Result<Option<Desired>> {
        const FIND: &str = "SELECT vm, power, host, di, run, revision, expires_soft,
                expires_hard, asked_by, asked_at
            FROM vm_desired WHERE vm = $1";
        let row: Option<DesiredRow> =
            read!(self, on => sqlx::query_as(FIND).bind(vm.0).fetch_optional(on).await)?;
        row::maybe(row)
    }

    /// What is wanted of every VM, in the order of their ids.
    pub async fn all_desired(&self) -> Result<Vec<Desired>> {
        const FIND: &str = "SELECT vm, power, host, di, run, revision, expires_soft,
                expires_hard, asked_by, asked_at
            FROM vm_desired ORDER BY vm";
        let rows: Vec<DesiredRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        row::all(rows)
    }

    /// What is wanted of the VMs that a host is named for, in the order of their ids.
    pub async fn desired_for_host(&self, host: HostId) -> Result<Vec<Desired>> {
        const FIND: &str = "SELECT vm, power, host, di, run, revision, expires_soft,
                expires_hard, asked_by, asked_at
            FROM vm_desired WHERE host = $1 ORDER BY vm";
        let rows: Vec<DesiredRow> =
            read!(self, on => sqlx::query_as(FIND).bind(host.0).fetch_all(on).await)?;
        row::all(rows)
    }

    /// Writes what is wanted of a VM, with the revision `expected + 1`, if the row still has the
    /// revision `expected` (the one in `desired` does not matter). False when it has not: read it
    /// again, and decide again.
    pub async fn set_desired(&self, desired: &Desired, expected: Revision) -> Result<bool> {
        const SET: &str = "UPDATE vm_desired SET
                power = $3, host = $4, di = $5, run = $6, revision = revision + 1,
                expires_soft = $7, expires_hard = $8, asked_by = $9, asked_at = $10
            WHERE vm = $1 AND revision = $2";
        Ok(change_if!(self, on => {
            let done = sqlx::query(SET)
                .bind(desired.vm.0)
                .bind(expected.0)
                .bind(word(desired.power))
                .bind(desired.host.map(|id| id.0))
                .bind(desired.di.map(|id| id.0))
                .bind(desired.run.0)
                .bind(desired.expires_soft.map(|at| at.0))
                .bind(desired.expires_hard.map(|at| at.0))
                .bind(&desired.asked_by)
                .bind(desired.asked_at.0)
                .execute(&mut *on)
                .await
                .or_missing("host or image named for VM", desired.vm)?;
            let won = done.rows_affected() == 1;
            (won, won)
        }))
    }
}
