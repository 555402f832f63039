//! How hkd speaks with the agent in a VM.
//!
//! hkd makes a listening socket in the VM's run directory, which the agent inherits; so hkd connects
//! and the agent answers. Any number of connections may be open. Each carries questions and their
//! answers in turn; after [`Ask::Follow`] it carries only [`Tell::State`], pushed at every change.
//!
//! Root in the VM may replace the agent: hkd believes an answer only about that one VM, reads bounded
//! lines at a bounded rate, and waits with deadlines.

use serde::{Deserialize, Serialize};

use crate::session::Parameters;

/// The version of this conversation. hkd puts in a newer agent when versions differ and no session
/// is open.
pub const VERSION: u32 = 1;

/// What hkd asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Who are you? Answered by [`Tell::Hello`].
    Hello,
    /// Make the guest fit for its user. Idempotent. Answered by [`Tell::Done`] or [`Tell::Failed`].
    Prepare(Guest),
    /// Start the session, or resume it for a new client (taking it from the present one). Answered
    /// by any number of [`Tell::Progress`], then [`Tell::Listening`] or [`Tell::Failed`].
    Start {
        /// Options for `nxagent`.
        parameters: Parameters,
    },
    /// Open the one connection to `nxagent`. Answered by [`Tell::Opened`] with the descriptor, or
    /// [`Tell::Failed`].
    Open,
    /// Suspend the session: its client is cut off, its programs go on.
    Suspend,
    /// End the session: its programs are asked to end, then ended.
    End,
    /// Shut the guest down in good order.
    PowerOff,
    /// Send [`Tell::State`] now and at every change.
    Follow,
}

/// What a guest must be like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// The VM's name as a host name.
    pub hostname: String,
    /// The machine-id: 32 hexadecimal digits, the same at each start of the VM.
    pub machine_id: String,
    /// Name servers.
    pub dns: Vec<std::net::Ipv4Addr>,
    /// Address and prefix length of `eth0`.
    pub address: (std::net::Ipv4Addr, u8),
    /// The gateway.
    pub gateway: std::net::Ipv4Addr,
    /// Whether its files outlive this run. Those of one that begins anew each time need not reach the
    /// disk before anything else is done.
    pub lasting: bool,
    /// The desktop's user.
    pub user: GuestUser,
}

/// The desktop's user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestUser {
    /// Login.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Number of the user's own group, which has the user's name.
    pub gid: u32,
    /// Home directory; exists and belongs to the user when the VM has a lasting home.
    pub home: String,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum Tell {
    /// Answers [`Ask::Hello`].
    Hello {
        /// [`VERSION`] of the agent.
        version: u32,
        /// Whether [`Ask::Prepare`] was done since this agent began.
        prepared: bool,
    },
    /// What happens.
    Progress {
        /// A short sentence.
        text: String,
    },
    /// Done.
    Done,
    /// `nxagent` listens for its one connection.
    Listening,
    /// The descriptor comes with this message.
    Opened,
    /// The session's state.
    State {
        /// Where the session is.
        session: Session,
    },
    /// No, and why.
    Failed {
        /// What kind of thing: one of the codes of [`failure`].
        code: String,
        /// A sentence.
        text: String,
    },
}

/// Codes of [`Tell::Failed`], the same words as `model::reason::Code`.
pub mod failure {
    /// A user of the image is in the way.
    pub const USER_CLASH: &str = "user-clash";
    /// The image lacks a program.
    pub const SESSION_IMPOSSIBLE: &str = "session-impossible";
    /// A newer [`super::Ask::Start`] on another connection has the session.
    pub const SESSION_TAKEN: &str = "session-taken";
    /// The session ended.
    pub const SESSION_FAILED: &str = "session-failed";
    /// A step in the guest failed.
    pub const STEP_FAILED: &str = "step-failed";
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// There is none.
    None,
    /// On its way.
    Starting,
    /// `nxagent` waits for its client.
    Listening,
    /// A client is attached.
    Connected,
    /// Its programs run; no client.
    Suspended,
    /// On its way out.
    Ending,
}
