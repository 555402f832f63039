//! The settings that differ from their defaults. Written by the api.
//!
//! The table has room for settings of one tenant or one host; those of the whole cluster, which
//! these functions read and write, have 0 for both.

use crate::{
    database::{Store, change, change_if, read},
    error::Result,
};

impl Store {
    /// The settings of the cluster as (key, value), in the order of their keys.
    pub async fn configs(&self) -> Result<Vec<(String, String)>> {
        const FIND: &str =
            "SELECT key, value FROM configs WHERE tenant = 0 AND host = 0 ORDER BY key";
        Ok(read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?)
    }

    /// Sets a setting of the cluster. Whether key and value are good is for the caller to check.
    pub async fn set_config(&self, key: &str, value: &str) -> Result<()> {
        const SET: &str = "INSERT INTO configs (key, tenant, host, value) VALUES ($1, 0, 0, $2)
            ON CONFLICT (key, tenant, host) DO UPDATE SET value = excluded.value";
        change!(self, on => {
            sqlx::query(SET).bind(key).bind(value).execute(&mut *on).await?;
        });
        Ok(())
    }

    /// Takes a setting of the cluster back to its default. False when it was not set.
    pub async fn del_config(&self, key: &str) -> Result<bool> {
        const DELETE: &str = "DELETE FROM configs WHERE key = $1 AND tenant = 0 AND host = 0";
        Ok(change_if!(self, on => {
            let done = sqlx::query(DELETE).bind(key).execute(&mut *on).await?;
            let deleted = done.rows_affected() == 1;
            (deleted, deleted)
        }))
    }
}
