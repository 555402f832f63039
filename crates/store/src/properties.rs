//! Free words that administrators put on things. Written by the api.
//!
//! One table for each noun, so that properties go with what they are of.

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::{
    database::{Store, change, change_if, read},
    error::{Result, Violated},
};

/// What can have properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noun {
    /// A user.
    User,
    /// A host.
    Host,
    /// An OSF.
    Osf,
    /// An image.
    Di,
    /// A VM.
    Vm,
}

impl Noun {
    /// Everything that can have properties.
    pub const ALL: &[Self] = &[Self::User, Self::Host, Self::Osf, Self::Di, Self::Vm];

    fn table(self) -> &'static str {
        match self {
            Self::User => "user_properties",
            Self::Host => "host_properties",
            Self::Osf => "osf_properties",
            Self::Di => "di_properties",
            Self::Vm => "vm_properties",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Host => "host",
            Self::Osf => "OSF",
            Self::Di => "image",
            Self::Vm => "VM",
        }
    }

    /// The text with this noun's table in place of `@TABLE@`: one of five constants.
    pub(crate) fn sql(self, text: &str) -> SqlStr {
        AssertSqlSafe(text.replace("@TABLE@", self.table())).into_sql_str()
    }
}

impl Store {
    /// Sets a property of the thing with an id.
    pub async fn set_property(&self, noun: Noun, id: i64, key: &str, value: &str) -> Result<()> {
        const SET: &str = "INSERT INTO @TABLE@ (owner, key, value) VALUES ($1, $2, $3)
            ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value";
        change!(self, on => {
            sqlx::query(noun.sql(SET))
                .bind(id)
                .bind(key)
                .bind(value)
                .execute(&mut *on)
                .await
                .or_missing(noun.word(), id)?;
        });
        Ok(())
    }

    /// The properties of the thing with an id, in the order of their keys.
    pub async fn properties(&self, noun: Noun, id: i64) -> Result<Vec<(String, String)>> {
        const FIND: &str = "SELECT key, value FROM @TABLE@ WHERE owner = $1 ORDER BY key";
        let rows = read!(self, on => {
            sqlx::query_as(noun.sql(FIND)).bind(id).fetch_all(on).await
        })?;
        Ok(rows)
    }

    /// Takes a property away. False when there was none.
    pub async fn del_property(&self, noun: Noun, id: i64, key: &str) -> Result<bool> {
        const DELETE: &str = "DELETE FROM @TABLE@ WHERE owner = $1 AND key = $2";
        Ok(change_if!(self, on => {
            let done =
                sqlx::query(noun.sql(DELETE)).bind(id).bind(key).execute(&mut *on).await?;
            let deleted = done.rows_affected() == 1;
            (deleted, deleted)
        }))
    }
}
