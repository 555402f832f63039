//! How the l7r is handed a desktop: its conversation with hkd.
//!
//! ```text
//! l7r                                  hkd
//!  |  Attach vm, run, connection, …     |   checks the peer, and that this run runs here
//!  | ---------------------------------> |   drives the agent: start or resume the session
//!  |  Progress …                        |
//!  | <--------------------------------- |
//!  |  Listening                         |   nxagent listens; the l7r sends its 101
//!  | <--------------------------------- |
//!  |  Open     (client's first bytes)   |   the agent opens nxagent's one connection
//!  | ---------------------------------> |
//!  |  Opened + descriptor               |   a stream unix socket, straight to nxagent
//!  | <--------------------------------- |
//! ```
//!
//! Where the session was taken between `Listening` and `Open`, hkd brings it up again, says
//! `Listening` once more, and the l7r repeats its `Open`.
//!
//! The l7r may close at any time before `Open`, and nothing is wasted. After `Opened` neither side
//! says more: the relay needs no hkd.

use serde::{Deserialize, Serialize};

use crate::session::Parameters;

/// What the l7r says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromRouter {
    /// First: I want this desktop.
    Attach {
        /// Which VM.
        vm: i64,
        /// Which run: another is refused.
        run: i64,
        /// The connection's name, given by the api.
        connection: String,
        /// What is asked of the session.
        parameters: Parameters,
    },
    /// The client's first bytes are here: open the connection.
    Open,
}

/// What hkd says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromHkd {
    /// This is what happens.
    Progress {
        /// A short sentence.
        text: String,
    },
    /// `nxagent` listens.
    Listening,
    /// The descriptor comes with this message.
    Opened,
    /// No, and why; hkd closes.
    Failed {
        /// A sentence.
        text: String,
    },
}
