//! What time the database has.

use model::Timestamp;

use crate::{Result, Store, database::Db};

impl Store {
    /// The clock of the database's server, which all hosts share; `None` where there is no server.
    pub async fn clock(&self) -> Result<Option<Timestamp>> {
        const NOW: &str =
            "SELECT (EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()) * 1000)::bigint";
        match &self.db {
            Db::Sqlite(_) => Ok(None),
            Db::Postgres(pool) => {
                let now: i64 = sqlx::query_scalar(NOW).fetch_one(pool).await?;
                Ok(Some(Timestamp(now)))
            }
        }
    }
}
