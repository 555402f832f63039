//! The two databases behind one face.
//!
//! A statement is written once, inside one of three macros: `read!` runs it on a pool, `change!` in
//! a transaction that others hear of, `change_if!` in one that others hear of when it changed
//! something. Rules for a text that both databases take: `$1` placeholders; no boolean expression
//! in a select list; `WHERE TRUE` between a `SELECT` and an `ON CONFLICT`; bind the right type; no
//! `FOR UPDATE` (SQLite has none): who must hold others off changes a row of the thing first.

use std::{fmt, sync::Arc};

use sqlx::{PgPool, SqlitePool};

use crate::wake::{Wake, Waker};

/// An open database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Db,
    /// How errors and logs call it; without a password.
    pub(crate) name: Arc<str>,
    waker: Arc<Waker>,
}

#[derive(Clone)]
pub(crate) enum Db {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.name).finish()
    }
}

impl Store {
    pub(crate) fn new(db: Db, name: String) -> Self {
        let waker = Arc::new(Waker::new(db.clone()));
        Self { db, name: name.into(), waker }
    }

    /// Wake-ups from now on: see [`Wake`].
    pub fn wake(&self) -> Wake {
        self.waker.wake()
    }

    /// Ends all connections to the database. Whatever comes later fails.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite(pool) => pool.close().await,
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

/// Runs a query on the pool of whichever database is open.
macro_rules! read {
    ($store:expr, $on:ident => $query:expr) => {
        match &$store.db {
            $crate::database::Db::Sqlite($on) => $query,
            $crate::database::Db::Postgres($on) => $query,
        }
    };
}

/// Runs queries that see one moment of the database; the body ends with the value.
macro_rules! snapshot {
    ($store:expr, $on:ident => $body:expr) => {
        match &$store.db {
            $crate::database::Db::Sqlite(pool) => {
                let mut transaction = pool.begin().await?;
                let $on = &mut *transaction;
                $body
            }
            $crate::database::Db::Postgres(pool) => {
                const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let mut transaction = pool.begin_with(BEGIN).await?;
                let $on = &mut *transaction;
                $body
            }
        }
    };
}

/// Writes in one transaction; the body ends with the value, and an error in it undoes everything.
macro_rules! change {
    ($store:expr, $on:ident => $body:expr) => {
        $crate::database::change_if!($store, $on => ($body, true))
    };
}

/// Writes in one transaction; the body ends with the value and whether anything was changed.
macro_rules! change_if {
    ($store:expr, $on:ident => $body:expr) => {
        match &$store.db {
            $crate::database::Db::Sqlite(pool) => {
                // A transaction that begins with a read and then writes fails when another one
                // wrote in between; one that begins as a writer waits for its turn.
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                let $on = &mut *transaction;
                let (value, changed) = $body;
                if changed {
                    $crate::wake::note_change(&mut transaction).await?;
                }
                transaction.commit().await?;
                value
            }
            $crate::database::Db::Postgres(pool) => {
                // Each statement sees what others committed before it: who waited for a row must
                // see what was done meanwhile.
                const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
                let mut transaction = pool.begin_with(BEGIN).await?;
                let $on = &mut *transaction;
                let (value, changed) = $body;
                if changed {
                    sqlx::query("NOTIFY qvd").execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                value
            }
        }
    };
}

pub(crate) use {change, change_if, read, snapshot};
