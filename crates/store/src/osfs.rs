//! The lines of images. Written by the api.

use model::{
    OsfId, TenantId,
    osf::{Init, Osf},
};

use crate::{
    database::{Store, change, read},
    error::{Error, Result, Violated},
    row,
};

#[derive(sqlx::FromRow)]
pub(crate) struct OsfRow {
    id: i64,
    tenant: i64,
    name: String,
    memory: i64,
    user_storage_size: Option<i64>,
    nesting: bool,
    init: String,
}

impl From<OsfRow> for Osf {
    fn from(row: OsfRow) -> Self {
        Self {
            id: OsfId(row.id),
            tenant: TenantId(row.tenant),
            name: row.name,
            memory: row.memory,
            user_storage_size: row.user_storage_size,
            nesting: row.nesting,
            // The schema knows the words; one of a later version is left to hkd to find out.
            init: row.init.parse().unwrap_or_default(),
        }
    }
}

/// An OSF to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOsf<'a> {
    /// Its name, unique within the tenant.
    pub name: &'a str,
    /// Memory limit of each VM, in MiB.
    pub memory: i64,
    /// Size of the user's storage in MiB; `None` for no limit, zero for no home.
    pub user_storage_size: Option<i64>,
    /// Whether programs inside may make user name spaces.
    pub nesting: bool,
    /// What process 1 of each VM is.
    pub init: Init,
}

impl<'a> NewOsf<'a> {
    /// One with this name and memory, and nothing else that is special.
    pub fn new(name: &'a str, memory: i64) -> Self {
        Self { name, memory, user_storage_size: None, nesting: true, init: Init::Auto }
    }
}

/// What is to change of an OSF; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OsfEdit {
    /// A new name.
    pub name: Option<String>,
    /// Memory limit of each VM, in MiB.
    pub memory: Option<i64>,
    /// Size of the user's storage in MiB; `Some(None)` takes the limit away.
    pub user_storage_size: Option<Option<i64>>,
    /// Whether programs inside may make user name spaces.
    pub nesting: Option<bool>,
    /// What process 1 of each VM is.
    pub init: Option<Init>,
}

impl Store {
    /// Adds an OSF.
    pub async fn add_osf(&self, tenant: TenantId, new: &NewOsf<'_>) -> Result<Osf> {
        const ADD: &str =
            "INSERT INTO osfs (tenant, name, memory, user_storage_size, nesting, init)
            VALUES ($1, $2, $3, $4, $5, $6)
            RETURNING id, tenant, name, memory, user_storage_size, nesting, init";
        let row: OsfRow = change!(self, on => {
            sqlx::query_as(ADD)
                .bind(tenant.0)
                .bind(new.name)
                .bind(new.memory)
                .bind(new.user_storage_size)
                .bind(new.nesting)
                .bind(new.init.as_str())
                .fetch_one(&mut *on)
                .await
                .or_exists("OSF", new.name)
                .or_missing("tenant", tenant)?
        });
        Ok(row.into())
    }

    /// All OSFs of a tenant, in the order of their ids.
    pub async fn osfs(&self, tenant: TenantId) -> Result<Vec<Osf>> {
        const FIND: &str =
            "SELECT id, tenant, name, memory, user_storage_size, nesting, init FROM osfs
            WHERE tenant = $1 ORDER BY id";
        let rows: Vec<OsfRow> =
            read!(self, on => sqlx::query_as(FIND).bind(tenant.0).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Osf::from).collect())
    }

    /// The OSF with an id.
    pub async fn osf(&self, id: OsfId) -> Result<Option<Osf>> {
        const FIND: &str = "SELECT id, tenant, name, memory, user_storage_size, nesting, init FROM osfs WHERE id = $1";
        let row: Option<OsfRow> =
            read!(self, on => sqlx::query_as(FIND).bind(id.0).fetch_optional(on).await)?;
        Ok(row.map(Osf::from))
    }

    /// The OSF with a name.
    pub async fn osf_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<Osf>> {
        const FIND: &str =
            "SELECT id, tenant, name, memory, user_storage_size, nesting, init FROM osfs
            WHERE tenant = $1 AND name = $2";
        let row: Option<OsfRow> = read!(self, on => {
            sqlx::query_as(FIND).bind(tenant.0).bind(name).fetch_optional(on).await
        })?;
        Ok(row.map(Osf::from))
    }

    /// Changes an OSF; running VMs feel it at their next start.
    pub async fn edit_osf(&self, id: OsfId, edit: &OsfEdit) -> Result<Osf> {
        const EDIT: &str = "UPDATE osfs SET
                name = COALESCE($2, name),
                memory = COALESCE($3, memory),
                user_storage_size = CASE WHEN $4 THEN $5 ELSE user_storage_size END,
                nesting = COALESCE($6, nesting),
                init = COALESCE($7, init)
            WHERE id = $1
            RETURNING id, tenant, name, memory, user_storage_size, nesting, init";
        let name = edit.name.as_deref();
        let row: Option<OsfRow> = change!(self, on => {
            sqlx::query_as(EDIT)
                .bind(id.0)
                .bind(name)
                .bind(edit.memory)
                .bind(edit.user_storage_size.is_some())
                .bind(edit.user_storage_size.flatten())
                .bind(edit.nesting)
                .bind(edit.init.map(Init::as_str))
                .fetch_optional(&mut *on)
                .await
                .or_exists("OSF", name.unwrap_or_default())?
        });
        row.map(Osf::from).ok_or_else(|| Error::not_found("OSF", &id))
    }

    /// Removes an OSF. Refused while it has images or VMs.
    pub async fn delete_osf(&self, id: OsfId) -> Result<()> {
        const VMS: &str = "SELECT name FROM vms WHERE osf = $1 ORDER BY id";
        const DIS: &str = "SELECT version FROM dis WHERE osf = $1 ORDER BY id";
        const DELETE: &str = "DELETE FROM osfs WHERE id = $1";
        change!(self, on => {
            for (noun, find) in [("VM", VMS), ("image", DIS)] {
                let found: Vec<String> =
                    sqlx::query_scalar(find).bind(id.0).fetch_all(&mut *on).await?;
                if !found.is_empty() {
                    return Err(Error::in_use("OSF", &id, row::list(noun, &found)));
                }
            }
            let done = sqlx::query(DELETE)
                .bind(id.0)
                .execute(&mut *on)
                .await
                .or_in_use("OSF", id, "an image or a VM")?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("OSF", &id));
            }
        });
        Ok(())
    }
}
