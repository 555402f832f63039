//! Leases: by which hkd a host is held. Written by that host.
//!
//! A lease has an epoch that rises whenever an hkd takes it anew, so that one that was taken for
//! dead and comes back finds that it holds nothing any more.

use model::{HostId, Timestamp};

use crate::{
    database::{Store, change, change_if, read},
    error::{Result, Violated},
};

/// A host's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose.
    pub host: HostId,
    /// How often it was taken.
    pub epoch: i64,
    /// When it was last taken or renewed.
    pub renewed_at: Timestamp,
}

impl Store {
    /// Takes a host's lease from whoever had it and returns its new epoch.
    pub async fn take_lease(&self, now: Timestamp, host: HostId) -> Result<i64> {
        const TAKE: &str = "INSERT INTO host_leases (host, epoch, renewed_at) VALUES ($1, 1, $2)
            ON CONFLICT (host) DO UPDATE SET
                epoch = host_leases.epoch + 1, renewed_at = excluded.renewed_at
            RETURNING epoch";
        let epoch = change!(self, on => {
            sqlx::query_scalar(TAKE)
                .bind(host.0)
                .bind(now.0)
                .fetch_one(&mut *on)
                .await
                .or_missing("host", host)?
        });
        Ok(epoch)
    }

    /// Renews a lease. False when somebody else has taken it since.
    pub async fn renew_lease(&self, now: Timestamp, host: HostId, epoch: i64) -> Result<bool> {
        const RENEW: &str = "UPDATE host_leases SET renewed_at = $3 WHERE host = $1 AND epoch = $2";
        Ok(change_if!(self, on => {
            let done = sqlx::query(RENEW)
                .bind(host.0)
                .bind(epoch)
                .bind(now.0)
                .execute(&mut *on)
                .await?;
            let held = done.rows_affected() == 1;
            (held, held)
        }))
    }

    /// All leases, in the order of the hosts' ids.
    pub async fn leases(&self) -> Result<Vec<Lease>> {
        const FIND: &str = "SELECT host, epoch, renewed_at FROM host_leases ORDER BY host";
        let rows: Vec<(i64, i64, i64)> =
            read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        let lease = |(host, epoch, renewed_at)| Lease {
            host: HostId(host),
            epoch,
            renewed_at: Timestamp(renewed_at),
        };
        Ok(rows.into_iter().map(lease).collect())
    }
}
