//! What the l7r asks the api: who is it, which VMs, want this one.
//!
//! The l7r opens one connection to the api's internal socket for each question. The api answers with
//! any number of [`Answer::Progress`] and one final answer; after [`Answer::Attach`] the l7r keeps
//! the connection open for as long as the client is attached and reports on it with [`Report`], so
//! that the api knows who is connected. A lost api ends no session: the relay goes on, and the l7r
//! reports its connections again ([`Request::Resumed`]) when the api is back.

use serde::{Deserialize, Serialize};

use crate::session::Parameters;

/// A question of the l7r.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Can this host take users?
    Ping,
    /// Which VMs does this user have?
    List {
        /// Who asks.
        who: Credentials,
    },
    /// Connect this user to a VM: start it where needed.
    Connect {
        /// Who asks.
        who: Credentials,
        /// Which VM.
        vm: i64,
        /// What the client wants of the desktop.
        parameters: Parameters,
        /// The connection this one goes on from, by a client that lost it: refused when another
        /// client has taken the desktop over since.
        resume: Option<String>,
    },
    /// Stop one VM of this user, or the only one.
    Stop {
        /// Who asks.
        who: Credentials,
        /// Which VM; a client of the family leaves it out.
        vm: Option<i64>,
    },
    /// This connection goes on; the api was away.
    Resumed {
        /// As given in [`Answer::Attach`].
        connection: String,
        /// As [`Report::Established`] said, or would have.
        established: bool,
    },
}

/// Who asks, and from where. The password is checked by the api and kept by nobody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// As the client wrote it.
    pub login: String,
    /// As the client wrote it.
    pub password: String,
    /// The client's address, for the throttle and the audit.
    pub address: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("login", &self.login)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// An answer of the api.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Wait; this is what happens. More follows.
    Progress {
        /// A short sentence for the person who waits.
        text: String,
    },
    /// Yes ([`Request::Ping`]), done ([`Request::Stop`]), noted ([`Request::Resumed`]).
    Done {
        /// A short sentence.
        text: String,
    },
    /// The user's VMs.
    Vms {
        /// In the order of their ids.
        vms: Vec<VmLine>,
    },
    /// The VM runs: attach to it.
    Attach {
        /// Which VM.
        vm: i64,
        /// Which run of it.
        run: i64,
        /// The connection's name: unguessable, single-use, told to the client as its slave key.
        connection: String,
        /// What hkd is to ask of the agent.
        parameters: Parameters,
    },
    /// No.
    Refused {
        /// The status of the protocol: 401, 403, 404, 408, 409, 422, 429, 503…
        status: u16,
        /// A sentence for the person.
        text: String,
        /// Seconds after which it makes sense to ask again, for 429 and 503.
        retry_after: Option<u32>,
    },
}

/// A VM as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmLine {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its phase, in a word clients know.
    pub state: String,
    /// Offline for maintenance.
    pub blocked: bool,
}

/// What the l7r says on a connection after [`Answer::Attach`] or the answer to
/// [`Request::Resumed`]. The end of the socket means the same as [`Report::Ended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The client has its `101`: its first bytes came.
    Established,
    /// There will be no `101`: this is why.
    Failed {
        /// A sentence.
        text: String,
    },
    /// The client is gone.
    Ended,
}

/// What the api says on a connection after [`Answer::Attach`]: the other direction of [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// End this connection: another client took over, or an administrator asked.
    End {
        /// A sentence for the log.
        text: String,
    },
}
