//! `/users`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Never given twice.
    pub id: i64,
    /// The name to log in with.
    pub login: String,
    /// The user's number in every VM and on disk.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// A blocked user cannot log in.
    pub blocked: bool,
}

/// A user to add.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name to log in with: trimmed and lowered.
    pub login: String,
    /// The password in clear; only its hash is kept.
    pub password: String,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("login", &self.login).finish_non_exhaustive()
    }
}

/// What to change of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditUser {
    /// Whether the user is kept from logging in; a session that is open goes on.
    pub blocked: bool,
}

/// A password to set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// In clear; only its hash is kept.
    pub password: String,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}
