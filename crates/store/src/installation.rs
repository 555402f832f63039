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
