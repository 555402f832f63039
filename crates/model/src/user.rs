//! A person who has desktops.

use std::str::FromStr;

use crate::id::{TenantId, UserId};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never given twice.
    pub id: UserId,
    /// Owner of the name space.
    pub tenant: TenantId,
    /// Unique within the tenant.
    pub login: String,
    /// The user's number, the same in every VM and on disk: from the directory, or given once.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// A blocked user cannot log in.
    pub blocked: bool,
}

/// A login that cannot be a Linux user's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a login: use 1 to 32 lower-case letters, digits, `.`, `_` or `-`, starting with a letter or `_`"
)]
pub struct BadLogin(pub String);

/// A login: trimmed, lower-case, and fit to be the user's name inside a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login(String);

impl Login {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Login {
    type Err = BadLogin;

    fn from_str(text: &str) -> Result<Self, BadLogin> {
        let login = text.trim().to_lowercase();
        let first = |c: char| c.is_ascii_lowercase() || c == '_';
        let rest = |c: char| first(c) || c.is_ascii_digit() || ".-".contains(c);
        let fits = login.len() <= 32 && login.starts_with(first) && login.chars().all(rest);
        if fits { Ok(Self(login)) } else { Err(BadLogin(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_trimmed_and_lowered_and_never_dangerous() {
        assert_eq!(" Ada ".parse::<Login>().unwrap().as_str(), "ada");
        for bad in ["", "1ada", "a b", "a:b", "a\nb", "../x", "-x", "é", "root/", &"x".repeat(33)]
        {
            assert!(bad.parse::<Login>().is_err(), "{bad:?}");
        }
    }
}
