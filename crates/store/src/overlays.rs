//! Where the VMs' changes are: what each one wrote, on which host, over which image. Written by
//! that host.

use model::{DiId, HostId, Run, Timestamp, VmId};

use crate::{
    database::{Store, change, change_if, read},
    error::{Result, Violated},
};

/// What one VM wrote over one image, on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Whose changes. The VM may be deleted already.
    pub vm: VmId,
    /// Where they are.
    pub host: HostId,
    /// Over which image.
    pub di: DiId,
    /// By which run they were last written.
    pub run: Run,
    /// The storage driver that made it, as in `vm.lxc.unionfs.type`.
    pub driver: String,
    /// How much room it takes, as far as known.
    pub bytes: i64,
    /// When it was last copied to shared storage.
    pub copied_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct OverlayRow {
    vm: i64,
    host: i64,
    di: i64,
    run: i64,
    driver: String,
    bytes: i64,
    copied_at: Option<i64>,
}

impl From<OverlayRow> for Overlay {
    fn from(row: OverlayRow) -> Self {
        Self {
            vm: VmId(row.vm),
            host: HostId(row.host),
            di: DiId(row.di),
            run: Run(row.run),
            driver: row.driver,
            bytes: row.bytes,
            copied_at: row.copied_at.map(Timestamp),
        }
    }
}

impl Store {
    /// Notes that a host has an overlay, or what has changed of it.
    pub async fn put_overlay(
        &self,
        vm: VmId,
        host: HostId,
        di: DiId,
        run: Run,
        driver: &str,
        bytes: i64,
    ) -> Result<()> {
        const PUT: &str = "INSERT INTO overlays (vm, host, di, run, driver, bytes)
            VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (vm, host, di) DO UPDATE SET
                run = excluded.run, driver = excluded.driver, bytes = excluded.bytes";
        change!(self, on => {
            sqlx::query(PUT)
                .bind(vm.0)
                .bind(host.0)
                .bind(di.0)
                .bind(run.0)
                .bind(driver)
                .bind(bytes)
                .execute(&mut *on)
                .await
                .or_missing("host or image of the overlay of VM", vm)?;
        });
        Ok(())
    }

    /// Notes that a host has removed an overlay.
    pub async fn delete_overlay(&self, vm: VmId, host: HostId, di: DiId) -> Result<()> {
        const DELETE: &str = "DELETE FROM overlays WHERE vm = $1 AND host = $2 AND di = $3";
        change_if!(self, on => {
            let done = sqlx::query(DELETE)
                .bind(vm.0)
                .bind(host.0)
                .bind(di.0)
                .execute(&mut *on)
                .await?;
            ((), done.rows_affected() > 0)
        });
        Ok(())
    }

    /// The overlays of a host, in the order of VM and image.
    pub async fn overlays(&self, host: HostId) -> Result<Vec<Overlay>> {
        const FIND: &str = "SELECT vm, host, di, run, driver, bytes, copied_at FROM overlays
            WHERE host = $1 ORDER BY vm, di";
        let rows: Vec<OverlayRow> =
            read!(self, on => sqlx::query_as(FIND).bind(host.0).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Overlay::from).collect())
    }
}
