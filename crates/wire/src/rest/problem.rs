//! What went wrong, as RFC 9457 has it.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:qvd:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable word that scripts may match.
    pub code: String,
    /// What happened this time, in a sentence without its full stop.
    pub detail: String,
    /// What a person can do about it; empty when the detail says it all.
    #[serde(default)]
    pub remedy: String,
}
