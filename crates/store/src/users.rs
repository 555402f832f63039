//! The people who have desktops. Written by the api.
//!
//! The password's hash is no part of [`User`]: two functions read and write it, nothing else does.

use model::{
    TenantId, Timestamp, UserId,
    user::{Login, User},
};

use crate::{
    database::{Store, change, read},
    error::{Error, Result, Violated},
    row,
};

#[derive(sqlx::FromRow)]
pub(crate) struct UserRow {
    pub(crate) id: i64,
    tenant: i64,
    login: String,
    uid: i64,
    gid: i64,
    blocked: bool,
}

impl TryFrom<UserRow> for User {
    type Error = Error;

    fn try_from(row: UserRow) -> Result<Self> {
        // A login of another shape would be dangerous as a name in the guest.
        let login: Login = row.login.parse().map_err(|_| Error::row("users", &row.id, "login"))?;
        let number = |value: i64, column| {
            u32::try_from(value).map_err(|_| Error::row("users", &row.id, column))
        };
        Ok(Self {
            id: UserId(row.id),
            tenant: TenantId(row.tenant),
            login: login.as_str().to_owned(),
            uid: number(row.uid, "uid")?,
            gid: number(row.gid, "gid")?,
            blocked: row.blocked,
        })
    }
}

#[derive(sqlx::FromRow)]
struct WithHash {
    #[sqlx(flatten)]
    user: UserRow,
    password_hash: Option<String>,
}

impl Store {
    /// Adds a user, whose uid and gid are `uid_min` or one more than the highest ever given,
    /// whichever is more. `password_hash` is a PHC string.
    pub async fn add_user(
        &self,
        now: Timestamp,
        tenant: TenantId,
        login: &Login,
        password_hash: Option<&str>,
        uid_min: u32,
    ) -> Result<User> {
        const NUMBER: &str = "UPDATE counters
            SET value = CASE WHEN value < $1 THEN $1 ELSE value + 1 END
            WHERE name = 'uid' RETURNING value";
        const ADD: &str =
            "INSERT INTO users (tenant, login, password_hash, uid, gid, blocked, added_at)
             VALUES ($1, $2, $3, $4, $4, FALSE, $5)
             RETURNING id, tenant, login, uid, gid, blocked";
        let login = login.as_str();
        let row: UserRow = change!(self, on => {
            let uid: i64 = sqlx::query_scalar(NUMBER)
                .bind(i64::from(uid_min))
                .fetch_one(&mut *on)
                .await?;
            sqlx::query_as(ADD)
                .bind(tenant.0)
                .bind(login)
                .bind(password_hash)
                .bind(uid)
                .bind(now.0)
                .fetch_one(&mut *on)
                .await
                .or_exists("user", login)
                .or_missing("tenant", tenant)?
        });
        row.try_into()
    }

    /// All users of a tenant, in the order of their ids.
    pub async fn users(&self, tenant: TenantId) -> Result<Vec<User>> {
        const FIND: &str = "SELECT id, tenant, login, uid, gid, blocked FROM users
            WHERE tenant = $1 ORDER BY id";
        let rows: Vec<UserRow> =
            read!(self, on => sqlx::query_as(FIND).bind(tenant.0).fetch_all(on).await)?;
        row::all(rows)
    }

    /// The user with an id.
    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        const FIND: &str = "SELECT id, tenant, login, uid, gid, blocked FROM users WHERE id = $1";
        let row: Option<UserRow> =
            read!(self, on => sqlx::query_as(FIND).bind(id.0).fetch_optional(on).await)?;
        row::maybe(row)
    }

    /// The user with a login. The login is compared as it is stored: trimmed and in lower case.
    pub async fn user_by_login(&self, tenant: TenantId, login: &str) -> Result<Option<User>> {
        Ok(self.password_hash(tenant, login).await?.map(|(user, _)| user))
    }

    /// Removes a user. Refused while VMs are the user's; the home stays on disk.
    pub async fn delete_user(&self, id: UserId) -> Result<()> {
        const VMS: &str = "SELECT name FROM vms WHERE user_id = $1 ORDER BY id";
        const DELETE: &str = "DELETE FROM users WHERE id = $1";
        change!(self, on => {
            let vms: Vec<String> =
                sqlx::query_scalar(VMS).bind(id.0).fetch_all(&mut *on).await?;
            if !vms.is_empty() {
                return Err(Error::in_use("user", &id, row::list("VM", &vms)));
            }
            let done = sqlx::query(DELETE)
                .bind(id.0)
                .execute(&mut *on)
                .await
                .or_in_use("user", id, "a VM")?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("user", &id));
            }
        });
        Ok(())
    }

    /// Sets or takes away a user's password, as a PHC string.
    pub async fn set_password_hash(&self, id: UserId, hash: Option<&str>) -> Result<()> {
        const SET: &str = "UPDATE users SET password_hash = $2 WHERE id = $1";
        change!(self, on => {
            let done = sqlx::query(SET).bind(id.0).bind(hash).execute(&mut *on).await?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("user", &id));
            }
        });
        Ok(())
    }

    /// The user with a login, and the hash of the password where there is one.
    pub async fn password_hash(
        &self,
        tenant: TenantId,
        login: &str,
    ) -> Result<Option<(User, Option<String>)>> {
        const FIND: &str = "SELECT id, tenant, login, uid, gid, blocked, password_hash
            FROM users WHERE tenant = $1 AND login = $2";
        let row: Option<WithHash> = read!(self, on => {
            sqlx::query_as(FIND).bind(tenant.0).bind(login).fetch_optional(on).await
        })?;
        row.map(|row| Ok((row.user.try_into()?, row.password_hash))).transpose()
    }

    /// Blocks a user or lets the user in again.
    pub async fn set_user_blocked(&self, id: UserId, blocked: bool) -> Result<()> {
        const SET: &str = "UPDATE users SET blocked = $2 WHERE id = $1";
        change!(self, on => {
            let done = sqlx::query(SET).bind(id.0).bind(blocked).execute(&mut *on).await?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("user", &id));
            }
        });
        Ok(())
    }
}
