//! What is seen of each VM. Written by the host that sees it.

use model::{
    HostId, Run, Timestamp, VmId,
    vm::{EndKind, Ended, Observed, Seen},
};

use crate::{
    database::{Store, change_if, read},
    error::{Error, Result, Violated},
    reason::ReasonColumns,
    row,
};

#[derive(sqlx::FromRow)]
pub(crate) struct ObservedRow {
    pub(crate) vm: i64,
    host: i64,
    run: i64,
    seen: String,
    seen_at: i64,
    waiting_for: Option<String>,
    #[sqlx(flatten)]
    reason: ReasonColumns,
    attempts: i64,
    next_try: Option<i64>,
    ended_run: Option<i64>,
    ended_kind: Option<String>,
    ended_at: Option<i64>,
}

impl TryFrom<ObservedRow> for Observed {
    type Error = Error;

    fn try_from(row: ObservedRow) -> Result<Self> {
        const TABLE: &str = "vm_observed";
        let key = format!("{} of host {}", row.vm, row.host);
        let ended = match (row.ended_run, row.ended_kind, row.ended_at) {
            (Some(run), Some(word), Some(at)) => {
                let kind = end_of(&word).ok_or_else(|| Error::row(TABLE, &key, "ended_kind"))?;
                Some(Ended { run: Run(run), kind, at: Timestamp(at) })
            }
            (None, None, None) => None,
            _ => return Err(Error::row(TABLE, &key, "ended_run")),
        };
        let seen = seen_of(&row.seen).ok_or_else(|| Error::row(TABLE, &key, "seen"))?;
        Ok(Self {
            vm: VmId(row.vm),
            host: HostId(row.host),
            run: Run(row.run),
            seen,
            seen_at: Timestamp(row.seen_at),
            waiting_for: row.waiting_for,
            reason: row.reason.parse(TABLE, &key)?,
            attempts: row.attempts,
            next_try: row.next_try.map(Timestamp),
            ended,
        })
    }
}

fn seen_word(seen: Seen) -> &'static str {
    match seen {
        Seen::Nothing => "nothing",
        Seen::Preparing => "preparing",
        Seen::Starting => "starting",
        Seen::Running => "running",
        Seen::Stopping => "stopping",
    }
}

fn seen_of(word: &str) -> Option<Seen> {
    use Seen::{Nothing, Preparing, Running, Starting, Stopping};
    [Nothing, Preparing, Starting, Running, Stopping]
        .into_iter()
        .find(|seen| seen_word(*seen) == word)
}

fn end_word(kind: EndKind) -> &'static str {
    match kind {
        EndKind::ShutDown => "shut-down",
        EndKind::Crashed => "crashed",
    }
}

fn end_of(word: &str) -> Option<EndKind> {
    [EndKind::ShutDown, EndKind::Crashed].into_iter().find(|kind| end_word(*kind) == word)
}

impl Store {
    /// Writes what a host sees of a VM, in place of what it saw before. Nobody is woken when
    /// nothing is different.
    pub async fn put_observed(&self, observed: &Observed) -> Result<()> {
        const PUT: &str = "INSERT INTO vm_observed
                (vm, host, run, seen, seen_at, waiting_for, reason_code, reason_args,
                 reason_since, attempts, next_try, ended_run, ended_kind, ended_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
            ON CONFLICT (vm, host) DO UPDATE SET
                run = excluded.run, seen = excluded.seen, seen_at = excluded.seen_at,
                waiting_for = excluded.waiting_for, reason_code = excluded.reason_code,
                reason_args = excluded.reason_args, reason_since = excluded.reason_since,
                attempts = excluded.attempts, next_try = excluded.next_try,
                ended_run = excluded.ended_run, ended_kind = excluded.ended_kind,
                ended_at = excluded.ended_at
            WHERE vm_observed.run IS DISTINCT FROM excluded.run
               OR vm_observed.seen IS DISTINCT FROM excluded.seen
               OR vm_observed.seen_at IS DISTINCT FROM excluded.seen_at
               OR vm_observed.waiting_for IS DISTINCT FROM excluded.waiting_for
               OR vm_observed.reason_code IS DISTINCT FROM excluded.reason_code
               OR vm_observed.reason_args IS DISTINCT FROM excluded.reason_args
               OR vm_observed.reason_since IS DISTINCT FROM excluded.reason_since
               OR vm_observed.attempts IS DISTINCT FROM excluded.attempts
               OR vm_observed.next_try IS DISTINCT FROM excluded.next_try
               OR vm_observed.ended_run IS DISTINCT FROM excluded.ended_run
               OR vm_observed.ended_kind IS DISTINCT FROM excluded.ended_kind
               OR vm_observed.ended_at IS DISTINCT FROM excluded.ended_at";
        let reason = ReasonColumns::from(observed.reason.as_ref());
        change_if!(self, on => {
            let done = sqlx::query(PUT)
                .bind(observed.vm.0)
                .bind(observed.host.0)
                .bind(observed.run.0)
                .bind(seen_word(observed.seen))
                .bind(observed.seen_at.0)
                .bind(observed.waiting_for.as_deref())
                .bind(reason.code.as_deref())
                .bind(reason.args.as_deref())
                .bind(reason.since)
                .bind(observed.attempts)
                .bind(observed.next_try.map(|at| at.0))
                .bind(observed.ended.map(|ended| ended.run.0))
                .bind(observed.ended.map(|ended| end_word(ended.kind)))
                .bind(observed.ended.map(|ended| ended.at.0))
                .execute(&mut *on)
                .await
                .or_missing("VM or host", format!("{} of host {}", observed.vm, observed.host))?;
            ((), done.rows_affected() > 0)
        });
        Ok(())
    }

    /// What is seen of a VM, on each host that has seen it, in the order of the hosts' ids.
    pub async fn observed(&self, vm: VmId) -> Result<Vec<Observed>> {
        const FIND: &str = "SELECT vm, host, run, seen, seen_at, waiting_for, reason_code,
                reason_args, reason_since, attempts, next_try, ended_run, ended_kind, ended_at
            FROM vm_observed WHERE vm = $1 ORDER BY host";
        let rows: Vec<ObservedRow> =
            read!(self, on => sqlx::query_as(FIND).bind(vm.0).fetch_all(on).await)?;
        row::all(rows)
    }

    /// What is seen of every VM, in the order of VM and host.
    pub async fn all_observed(&self) -> Result<Vec<Observed>> {
        const FIND: &str = "SELECT vm, host, run, seen, seen_at, waiting_for, reason_code,
                reason_args, reason_since, attempts, next_try, ended_run, ended_kind, ended_at
            FROM vm_observed ORDER BY vm, host";
        let rows: Vec<ObservedRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        row::all(rows)
    }

    /// Forgets what a host saw of a VM.
    pub async fn delete_observed(&self, vm: VmId, host: HostId) -> Result<()> {
        const DELETE: &str = "DELETE FROM vm_observed WHERE vm = $1 AND host = $2";
        change_if!(self, on => {
            let done = sqlx::query(DELETE).bind(vm.0).bind(host.0).execute(&mut *on).await?;
            ((), done.rows_affected() > 0)
        });
        Ok(())
    }
}
