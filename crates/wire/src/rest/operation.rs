//! `/operations` and `/audit`.

use serde::{Deserialize, Serialize};

use super::vm::Reason;

/// A piece of long work and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Never given twice.
    pub id: i64,
    /// Who does it.
    pub host_id: i64,
    /// What is done.
    pub kind: String,
    /// What it is done to.
    pub target: String,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: String,
    /// From 0 to 100.
    pub percent: i64,
    /// Why it failed, or does not go on.
    pub reason: Option<Reason>,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts up.
    pub id: i64,
    /// When.
    pub at: i64,
    /// Who: `root`, `uid 990`, `user ada`.
    pub who: String,
    /// From where: an address, or `socket`.
    pub from: String,
    /// What: noun and verb.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it was, in JSON.
    pub before: Option<String>,
    /// How it is, in JSON.
    pub after: Option<String>,
    /// `done`, or why not.
    pub result: String,
}
