//! `/operations` and `/audit`.

use serde::{Deserialize, Serialize};

/// A piece of long work and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Never given twice.
    pub id: i64,
    /// What is done.
    pub kind: String,
    /// What it is done to.
    pub target: String,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: String,
    /// From 0 to 1.
    pub progress: f64,
    /// Why it failed.
    pub reason: Option<Reason>,
}

use super::vm::Reason;

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Counts up.
    pub id: i64,
    /// When.
    pub at: i64,
    /// Who: `root`, `uid 1000`, `user ada`.
    pub actor: String,
    /// What: `vm.start`.
    pub action: String,
    /// To what: `vm 3`.
    pub target: String,
    /// Told in JSON: before, after, result.
    pub detail: String,
}
