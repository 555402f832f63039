//! Which installation this database belongs to: an id made once, by the first migration, and
//! carried by everything on disk that belongs to it.

use crate::{
    database::{Store, change, read},
    error::{Error, Result},
};

impl Store {
    /// The installation's id: a random UUID.
    pub async fn installation(&self) -> Result<String> {
        const FIND: &str = "SELECT id FROM installation WHERE one = 1";
        let id: Option<String> =
            read!(self, on => sqlx::query_scalar(FIND).fetch_optional(on).await)?;
        id.ok_or_else(|| Error::row("installation", &1, "id"))
    }

    /// How often a VM was given an address in this database: it only ever grows, so that a smaller
    /// number than one seen before tells that the database was put back to an earlier state. An error if
    /// this is no longer the database of that installation: its file may have been replaced.
    pub async fn vms_given(&self, installation: &str) -> Result<i64> {
        // Both at once: it is asked whenever something has changed.
        const FIND: &str = "SELECT installation.id, counters.value FROM installation, counters
            WHERE installation.one = 1 AND counters.name = 'address'";
        let row: Option<(String, i64)> =
            read!(self, on => sqlx::query_as(FIND).fetch_optional(on).await)?;
        let (found, given) = row.ok_or_else(|| Error::row("installation", &1, "id"))?;
        if found == installation {
            return Ok(given);
        }
        let (database, wanted) = (self.name.to_string(), installation.to_owned());
        Err(Error::Foreign { database, found, wanted })
    }

    /// Gives the installation its id, if it has none.
    pub(crate) async fn name_installation(&self) -> Result<()> {
        const NAME: &str =
            "INSERT INTO installation (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING";
        const SOURCE: &str = "/proc/sys/kernel/random/uuid";
        let id = std::fs::read_to_string(SOURCE)
            .map_err(|error| Error::File { path: SOURCE.into(), error })?;
        change!(self, on => {
            sqlx::query(NAME).bind(id.trim()).execute(&mut *on).await?;
        });
        Ok(())
    }
}
