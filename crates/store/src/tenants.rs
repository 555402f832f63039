//! The owners of name spaces. There is one, `default`.

use model::TenantId;

use crate::{
    database::{Store, read},
    error::Result,
};

impl Store {
    /// The tenant with a name.
    pub async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantId>> {
        const FIND: &str = "SELECT id FROM tenants WHERE name = $1";
        let id: Option<i64> =
            read!(self, on => sqlx::query_scalar(FIND).bind(name).fetch_optional(on).await)?;
        Ok(id.map(TenantId))
    }
}
