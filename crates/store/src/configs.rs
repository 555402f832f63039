//! The settings that differ from their defaults. Written by the api.
//!
//! The table has room for settings of one tenant or one host; those of the whole cluster, which
//! these functions read and write, have 0 for both.

use std::collections::BTreeMap;

use crate::{
    database::{Store, change_if, read},
    error::Result,
};

/// A setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedConfig {
    /// Its key.
    pub key: String,
    /// Its value before; `None` when it was not set.
    pub before: Option<String>,
    /// Its value now; `None` when it is set no more.
    pub after: Option<String>,
}

impl Store {
    /// The settings of the cluster as (key, value), in the order of their keys.
    pub async fn configs(&self) -> Result<Vec<(String, String)>> {
        const FIND: &str =
            "SELECT key, value FROM configs WHERE tenant = 0 AND host = 0 ORDER BY key";
        Ok(read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?)
    }

    /// Sets (some value) and takes back (none) settings of the cluster, all or nothing. What was
    /// changed, and how it was before, in the order of the keys: what had that value already is not
    /// in it. Whether keys and values are good is for the caller to check.
    pub async fn change_configs(
        &self,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<Vec<ChangedConfig>> {
        // One row is changed after the other, in the order of their keys: two that change the same
        // ones wait for each other instead of deadlocking.
        const FIND: &str = "SELECT value FROM configs WHERE key = $1 AND tenant = 0 AND host = 0";
        const SET: &str = "INSERT INTO configs (key, tenant, host, value) VALUES ($1, 0, 0, $2)
            ON CONFLICT (key, tenant, host) DO UPDATE SET value = excluded.value";
        const DELETE: &str = "DELETE FROM configs WHERE key = $1 AND tenant = 0 AND host = 0";
        Ok(change_if!(self, on => {
            let mut done = Vec::new();
            for (key, after) in changes {
                let before: Option<String> =
                    sqlx::query_scalar(FIND).bind(key).fetch_optional(&mut *on).await?;
                if before == *after {
                    continue;
                }
                match after {
                    Some(value) => sqlx::query(SET).bind(key).bind(value).execute(&mut *on).await?,
                    None => sqlx::query(DELETE).bind(key).execute(&mut *on).await?,
                };
                done.push(ChangedConfig { key: key.clone(), before, after: after.clone() });
            }
            let any = !done.is_empty();
            (done, any)
        }))
    }

    /// Sets one setting of the cluster, as [`Store::change_configs`] does.
    pub async fn set_config(&self, key: &str, value: &str) -> Result<()> {
        let change = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        self.change_configs(&change).await.map(drop)
    }
}
