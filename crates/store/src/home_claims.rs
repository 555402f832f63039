//! Who writes a home: at most one VM on one host. Claimed and released by that host.

use model::{HostId, Run, VmId};

use crate::{
    database::{Store, change_if, read},
    error::{Result, Violated},
};

/// The right of one VM on one host to write a home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeClaim {
    /// The home's name below `homefs`.
    pub home: String,
    /// Who holds it.
    pub vm: VmId,
    /// Where.
    pub host: HostId,
    /// For which run.
    pub run: Run,
}

impl Store {
    /// Claims a home for a run of a VM on a host. True when it was free, or held by the same VM on
    /// the same host; false when somebody else holds it.
    pub async fn claim_home(&self, home: &str, vm: VmId, host: HostId, run: Run) -> Result<bool> {
        const CLAIM: &str = "INSERT INTO home_claims (home, vm, host, run)
            VALUES ($1, $2, $3, $4)
            ON CONFLICT (home) DO UPDATE SET run = excluded.run
            WHERE home_claims.vm = excluded.vm AND home_claims.host = excluded.host";
        Ok(change_if!(self, on => {
            let done = sqlx::query(CLAIM)
                .bind(home)
                .bind(vm.0)
                .bind(host.0)
                .bind(run.0)
                .execute(&mut *on)
                .await
                .or_missing("host", host)?;
            let claimed = done.rows_affected() == 1;
            (claimed, claimed)
        }))
    }

    /// Releases a home, if this VM on this host holds it.
    pub async fn release_home(&self, home: &str, vm: VmId, host: HostId) -> Result<()> {
        const RELEASE: &str = "DELETE FROM home_claims WHERE home = $1 AND vm = $2 AND host = $3";
        change_if!(self, on => {
            let done = sqlx::query(RELEASE)
                .bind(home)
                .bind(vm.0)
                .bind(host.0)
                .execute(&mut *on)
                .await?;
            ((), done.rows_affected() > 0)
        });
        Ok(())
    }

    /// The homes that are held on a host, in the order of their names.
    pub async fn home_claims(&self, host: HostId) -> Result<Vec<HomeClaim>> {
        const FIND: &str =
            "SELECT home, vm, host, run FROM home_claims WHERE host = $1 ORDER BY home";
        let rows: Vec<(String, i64, i64, i64)> =
            read!(self, on => sqlx::query_as(FIND).bind(host.0).fetch_all(on).await)?;
        let claim = |(home, vm, host, run)| HomeClaim {
            home,
            vm: VmId(vm),
            host: HostId(host),
            run: Run(run),
        };
        Ok(rows.into_iter().map(claim).collect())
    }
}
