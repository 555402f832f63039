//! From a login and a password to a user.

use std::{fmt, time::Duration};

use model::{
    TenantId, Timestamp,
    user::{self, User},
};
use store::Store;

use crate::{
    passwords::{Answer, BUSY, Passwords, Question},
    throttle::Throttle,
};

/// The name of the one tenant, which may be written behind a login: `ada@default`, `ada#default`.
const TENANT: &str = "default";

/// What somebody says of themselves, as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The login, with or without the tenant.
    pub login: String,
    /// The password. It is kept by nobody.
    pub password: String,
    /// The client's IP address, which failures are counted for.
    pub address: String,
}

/// Shows everything but the password.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("login", &self.login)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// No such user, a blocked one, one without a password, or the wrong one: which, is not told.
    #[error("wrong login or password")]
    BadCredentials,
    /// Too many failures.
    #[error("too many failed logins: try again in {} seconds", .retry_after.as_secs())]
    Throttled {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// Too many who wait: nobody is to blame.
    #[error("too many people are logging in now: try again in a moment")]
    Busy {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// It cannot be found out.
    #[error("nobody can log in now, because the database does not answer")]
    Unavailable(#[from] store::Error),
}

/// Checks who somebody is.
#[derive(Debug)]
pub struct Login {
    store: Store,
    passwords: Passwords,
}

impl Login {
    /// Checks logins against a store. Costs one hash, about 25 ms.
    pub fn new(store: Store) -> Self {
        Self { store, passwords: Passwords::new(Throttle::new(), rand::random(), rand::random()) }
    }

    /// The user, if the password is the user's and the user is not blocked. A failure counts even
    /// when the caller does not wait for the answer.
    pub async fn check(&self, now: Timestamp, credentials: Credentials) -> Result<User, Denied> {
        let Credentials { login, password, address } = credentials;
        let name = name_of(&login);
        let account = name.as_ref().map_or(login.as_str(), user::Login::as_str).to_owned();
        self.passwords.look(now, &account, &address).map_err(throttled)?;
        let user = match name {
            Some(name) => self.store.password_hash(TenantId::DEFAULT, name.as_str()).await?,
            None => None,
        };
        let question = Question { now, user, password, account, address };
        match self.passwords.check(question).await {
            Answer::Good(user) => Ok(user),
            Answer::Bad => Err(Denied::BadCredentials),
            Answer::Later(wait) => Err(throttled(wait)),
            Answer::Busy => Err(Denied::Busy { retry_after: BUSY }),
        }
    }
}

/// In whole seconds, as clients are told; and not too early.
fn throttled(wait: Duration) -> Denied {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Denied::Throttled { retry_after: Duration::from_secs(seconds) }
}

/// The login without its tenant, if it can be a login at all.
fn name_of(login: &str) -> Option<user::Login> {
    let name = match login.split_once(['@', '#']) {
        Some((name, tenant)) => tenant.trim().eq_ignore_ascii_case(TENANT).then_some(name)?,
        None => login,
    };
    name.parse().ok()
}

#[cfg(test)]
mod tests;
