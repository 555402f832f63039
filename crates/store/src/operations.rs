//! Long work on a host: asked for by the api, done and reported on by the host.

use model::{HostId, OperationId, Reason};

use crate::{
    database::{Store, change, change_if, read},
    error::{Error, Result, Violated},
    reason::ReasonColumns,
    row,
};

/// A piece of long work, idempotent by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Never given twice.
    pub id: OperationId,
    /// Who is to do it.
    pub host: HostId,
    /// What kind of work.
    pub kind: String,
    /// On what.
    pub target: String,
    /// What else the host has to know, as a JSON object.
    pub arguments: String,
    /// How far it is; `None` before the host has said anything.
    pub status: Option<OperationStatus>,
}

/// How far a piece of long work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationStatus {
    /// Hundredths of the way, 0 to 100.
    pub progress: i64,
    /// How it ended; `None` while it goes on.
    pub result: Option<String>,
    /// Why it does not go on, or failed.
    pub reason: Option<Reason>,
}

#[derive(sqlx::FromRow)]
struct OperationRow {
    id: i64,
    host: i64,
    kind: String,
    target: String,
    arguments: String,
    progress: Option<i64>,
    result: Option<String>,
    #[sqlx(flatten)]
    reason: ReasonColumns,
}

impl TryFrom<OperationRow> for Operation {
    type Error = Error;

    fn try_from(row: OperationRow) -> Result<Self> {
        let status = match row.progress {
            None => None,
            Some(progress) => Some(OperationStatus {
                progress,
                result: row.result,
                reason: row.reason.parse("operation_status", &row.id)?,
            }),
        };
        Ok(Self {
            id: OperationId(row.id),
            host: HostId(row.host),
            kind: row.kind,
            target: row.target,
            arguments: row.arguments,
            status,
        })
    }
}

impl Store {
    /// Asks a host for a piece of long work. `arguments` is a JSON object.
    pub async fn add_operation(
        &self,
        host: HostId,
        kind: &str,
        target: &str,
        arguments: &str,
    ) -> Result<OperationId> {
        const ADD: &str = "INSERT INTO operations (host, kind, target, arguments)
            VALUES ($1, $2, $3, $4) RETURNING id";
        let id = change!(self, on => {
            sqlx::query_scalar(ADD)
                .bind(host.0)
                .bind(kind)
                .bind(target)
                .bind(arguments)
                .fetch_one(&mut *on)
                .await
                .or_missing("host", host)?
        });
        Ok(OperationId(id))
    }

    /// The piece of work with an id, and how far it is.
    pub async fn operation(&self, id: OperationId) -> Result<Option<Operation>> {
        const FIND: &str = "SELECT id, host, kind, target, arguments, progress, result,
                reason_code, reason_args, reason_since
            FROM operations LEFT JOIN operation_status ON operation = id
            WHERE id = $1";
        let row: Option<OperationRow> =
            read!(self, on => sqlx::query_as(FIND).bind(id.0).fetch_optional(on).await)?;
        row::maybe(row)
    }

    /// All pieces of work and how far they are, in the order of their ids.
    pub async fn operations(&self) -> Result<Vec<Operation>> {
        const FIND: &str = "SELECT id, host, kind, target, arguments, progress, result,
                reason_code, reason_args, reason_since
            FROM operations LEFT JOIN operation_status ON operation = id
            ORDER BY id";
        let rows: Vec<OperationRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        row::all(rows)
    }

    /// Reports how far a piece of work is: `progress` from 0 to 100, `result` once it is over.
    pub async fn put_operation_status(
        &self,
        id: OperationId,
        progress: i64,
        result: Option<&str>,
        reason: Option<&Reason>,
    ) -> Result<()> {
        const PUT: &str = "INSERT INTO operation_status
                (operation, progress, result, reason_code, reason_args, reason_since)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (operation) DO UPDATE SET
                progress = excluded.progress, result = excluded.result,
                reason_code = excluded.reason_code, reason_args = excluded.reason_args,
                reason_since = excluded.reason_since";
        let reason = ReasonColumns::from(reason);
        change!(self, on => {
            sqlx::query(PUT)
                .bind(id.0)
                .bind(progress.clamp(0, 100))
                .bind(result)
                .bind(reason.code.as_deref())
                .bind(reason.args.as_deref())
                .bind(reason.since)
                .execute(&mut *on)
                .await
                .or_missing("operation", id)?;
        });
        Ok(())
    }

    /// Forgets a piece of work and how it ended. False when there is none.
    pub async fn delete_operation(&self, id: OperationId) -> Result<bool> {
        const DELETE: &str = "DELETE FROM operations WHERE id = $1";
        Ok(change_if!(self, on => {
            let done = sqlx::query(DELETE).bind(id.0).execute(&mut *on).await?;
            let deleted = done.rows_affected() == 1;
            (deleted, deleted)
        }))
    }
}
