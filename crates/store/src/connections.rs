//! The clients attached to VMs. Written by the api.
//!
//! At most one client is attached to a VM, by the schema itself: the newest. A connection that is
//! over stays until the next one of its VM, so that a client that lost it can be told apart from
//! one whose place another has taken.

use model::{ConnectionId, Run, Timestamp, UserId, VmId};

use crate::{
    database::{Store, change, change_if, read},
    error::{Error, Result, Violated},
};

/// One client attached to a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// Never given twice.
    pub id: ConnectionId,
    /// Which VM.
    pub vm: VmId,
    /// Which run of it.
    pub run: Run,
    /// Its unguessable name: whoever knows it may go on from this connection.
    pub name: String,
    /// The name of the connection from which its client came back, as long as the client may not know
    /// this one's: it was told, and has not been heard of since.
    pub resumes: Option<String>,
    /// The name of the node whose l7r carries it.
    pub incarnation: String,
    /// The client's address.
    pub client: String,
    /// Who is connected.
    pub user: UserId,
    /// Since when.
    pub since: Timestamp,
    /// It is over.
    pub ended: bool,
}

/// A connection to be added; see [`Connection`].
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "the fields are those of `Connection`")]
pub struct NewConnection<'a> {
    pub vm: VmId,
    pub run: Run,
    pub name: &'a str,
    pub resumes: Option<&'a str>,
    pub incarnation: &'a str,
    pub client: &'a str,
    pub user: UserId,
    pub since: Timestamp,
}

impl Connection {
    /// Whether this is the connection of that name, or its client came back by that name and may not
    /// know the new one.
    pub fn goes_on_from(&self, name: &str) -> bool {
        self.name == name || self.resumes.as_deref() == Some(name)
    }
}

/// Shows everything but the names, which are secret.
impl std::fmt::Debug for NewConnection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewConnection").field("vm", &self.vm).finish_non_exhaustive()
    }
}

/// Shows everything but the names, which are secret.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("vm", &self.vm)
            .field("run", &self.run)
            .field("incarnation", &self.incarnation)
            .field("client", &self.client)
            .field("user", &self.user)
            .field("since", &self.since)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct ConnectionRow {
    id: i64,
    vm: i64,
    run: i64,
    name: String,
    resumes: Option<String>,
    incarnation: String,
    client: String,
    user_id: i64,
    since: i64,
    ended: bool,
}

impl From<ConnectionRow> for Connection {
    fn from(row: ConnectionRow) -> Self {
        Self {
            id: ConnectionId(row.id),
            vm: VmId(row.vm),
            run: Run(row.run),
            name: row.name,
            resumes: row.resumes,
            incarnation: row.incarnation,
            client: row.client,
            user: UserId(row.user_id),
            since: Timestamp(row.since),
            ended: row.ended,
        }
    }
}

impl Store {
    /// Adds a connection, which ends the one its VM had: the newest wins. Returns its id.
    pub async fn add_connection(&self, new: NewConnection<'_>) -> Result<ConnectionId> {
        // Changes nothing but the right to go on: of two at once, the later one wins.
        const HOLD: &str = "UPDATE vms SET name = name WHERE id = $1";
        const CLEAR: &str = "DELETE FROM connections WHERE vm = $1 AND ended";
        const END: &str = "UPDATE connections SET ended = TRUE WHERE vm = $1 AND NOT ended";
        const ADD: &str =
            "INSERT INTO connections (vm, run, name, resumes, incarnation, client, user_id, since, ended)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, FALSE) RETURNING id";
        let NewConnection { vm, run, name, resumes, incarnation, client, user, since } = new;
        let id: i64 = change!(self, on => {
            let held = sqlx::query(HOLD).bind(vm.0).execute(&mut *on).await?;
            if held.rows_affected() == 0 {
                return Err(Error::not_found("VM", &vm));
            }
            sqlx::query(CLEAR).bind(vm.0).execute(&mut *on).await?;
            sqlx::query(END).bind(vm.0).execute(&mut *on).await?;
            sqlx::query_scalar(ADD)
                .bind(vm.0)
                .bind(run.0)
                .bind(name)
                .bind(resumes)
                .bind(incarnation)
                .bind(client)
                .bind(user.0)
                .bind(since.0)
                .fetch_one(&mut *on)
                .await
                .or_exists("connection of VM", vm)
                .or_missing("user", user)?
        });
        Ok(ConnectionId(id))
    }

    /// The connections that are not over, in the order of their ids.
    pub async fn connections(&self) -> Result<Vec<Connection>> {
        const FIND: &str =
            "SELECT id, vm, run, name, resumes, incarnation, client, user_id, since, ended
            FROM connections WHERE NOT ended ORDER BY id";
        let rows: Vec<ConnectionRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Connection::from).collect())
    }

    /// The connection with a name, if it is the newest of its VM: it goes on, also one that was
    /// noted as over.
    pub async fn resume_connection(&self, name: &str) -> Result<Option<Connection>> {
        // Changes nothing but the right to go on: nobody adds a newer one meanwhile.
        const HOLD: &str = "UPDATE vms SET name = name
            WHERE id = (SELECT vm FROM connections WHERE name = $1)";
        const RESUME: &str = "UPDATE connections SET ended = FALSE
            WHERE name = $1 AND id = (SELECT MAX(id) FROM connections WHERE vm =
                (SELECT vm FROM connections WHERE name = $1))
            RETURNING id, vm, run, name, resumes, incarnation, client, user_id, since, ended";
        let row: Option<ConnectionRow> = change_if!(self, on => {
            sqlx::query(HOLD).bind(name).execute(&mut *on).await?;
            let row: Option<ConnectionRow> =
                sqlx::query_as(RESUME).bind(name).fetch_optional(&mut *on).await?;
            let resumed = row.is_some();
            (row, resumed)
        });
        Ok(row.map(Connection::from))
    }

    /// The newest connection of a VM, over or not.
    pub async fn newest_connection(&self, vm: VmId) -> Result<Option<Connection>> {
        const FIND: &str =
            "SELECT id, vm, run, name, resumes, incarnation, client, user_id, since, ended
            FROM connections WHERE vm = $1 ORDER BY id DESC LIMIT 1";
        let row: Option<ConnectionRow> =
            read!(self, on => sqlx::query_as(FIND).bind(vm.0).fetch_optional(on).await)?;
        Ok(row.map(Connection::from))
    }

    /// Notes that the client of a connection has used its name: the one it came back by is of no more
    /// use.
    pub async fn establish_connection(&self, id: ConnectionId) -> Result<()> {
        const ESTABLISH: &str =
            "UPDATE connections SET resumes = NULL WHERE id = $1 AND resumes IS NOT NULL";
        change_if!(self, on => {
            sqlx::query(ESTABLISH).bind(id.0).execute(&mut *on).await?;
            // Nobody waits for it.
            ((), false)
        });
        Ok(())
    }

    /// Notes that a connection is over. False when it was already.
    pub async fn end_connection(&self, id: ConnectionId) -> Result<bool> {
        const END: &str = "UPDATE connections SET ended = TRUE WHERE id = $1 AND NOT ended";
        Ok(change_if!(self, on => {
            let done = sqlx::query(END).bind(id.0).execute(&mut *on).await?;
            let ended = done.rows_affected() == 1;
            (ended, ended)
        }))
    }
}
