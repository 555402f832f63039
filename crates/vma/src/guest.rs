//! Makes the guest fit for its user: network, names, account, home. Everything may be done again at
//! any time and changes nothing the second time.

mod account;
mod account_files;
mod file;
mod home;
mod interface;
mod names;
mod network;
pub(crate) mod skel;

use std::{io, path::Path};

use file::Files;
use wire::agent::{Guest, GuestUser, Tell, failure};

/// What stands in the way of a guest being fit for its user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// The order itself cannot be carried out by anyone.
    #[error("{what} `{value}` cannot be used in a guest")]
    Unfit {
        /// Which part of it.
        what: &'static str,
        /// As given.
        value: String,
    },
    /// The image has an account in the way.
    #[error(transparent)]
    Clash(#[from] account_files::Clash),
    /// Someone else holds the lock of the account files.
    #[error("the account files of the guest stayed locked for 15 seconds")]
    Locked,
    /// A file of the guest.
    #[error("cannot {verb} {path} in the guest: {error}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// Where.
        path: String,
        /// The system's answer.
        error: io::Error,
    },
    /// A network interface.
    #[error("cannot {verb} of {interface} in the guest: {error}")]
    Network {
        /// What was tried.
        verb: &'static str,
        /// On which.
        interface: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// The host name.
    #[error("cannot set the host name of the guest: {0}")]
    Hostname(io::Error),
    /// A home that is not the user's.
    #[error("the home {home} belongs to user number {owner}, not to {name} ({uid})")]
    ForeignHome {
        /// The folder.
        home: String,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        name: String,
        /// Their number.
        uid: u32,
    },
    /// Filling the home.
    #[error("cannot fill the home {home}: {error}")]
    Skel {
        /// The folder.
        home: String,
        /// Why.
        error: crate::command::CommandError,
    },
}

impl GuestError {
    /// As hkd is told.
    pub(crate) fn tell(&self) -> Tell {
        let code = match self {
            Self::Clash(_) => failure::USER_CLASH,
            _ => failure::STEP_FAILED,
        };
        Tell::Failed { code: code.to_owned(), text: self.to_string() }
    }

    fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| Self::File { verb, path, error }
    }
}

/// Does what [`wire::agent::Ask::Prepare`] asks.
pub(crate) fn prepare(guest: &Guest) -> Result<(), GuestError> {
    check(guest)?;
    // An init that will be systemd must have mounted its /run and read the old names first.
    crate::init::Init::settled();
    network::bring_up(guest)?;
    let files = Files { lasting: guest.lasting };
    names::set(guest, files)?;
    account::provide(&guest.user, files)?;
    home::provide(&guest.user)
}

/// Refuses what would break the format of a file or mean another path than it seems to.
fn check(guest: &Guest) -> Result<(), GuestError> {
    let unfit = |what, value: &str| Err(GuestError::Unfit { what, value: value.to_owned() });
    let GuestUser { name, uid, gid, home } = &guest.user;
    let letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty()
        || name.len() > 32
        || name.starts_with(['-', '.'])
        || !name.chars().all(letter)
    {
        return unfit("the login", name);
    }
    if *uid == 0 || *gid == 0 {
        return unfit("the user number", &uid.min(gid).to_string());
    }
    let plain = |part: &str| part != ".." && !part.contains([':', '\n', '\0']);
    if !home.starts_with('/') || home == "/" || !home.split('/').all(plain) {
        return unfit("the home", home);
    }
    let host = &guest.hostname;
    if host.is_empty() || host.len() > 64 || !host.chars().all(|c| letter(c) && c != '_') {
        return unfit("the host name", host);
    }
    let id = &guest.machine_id;
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return unfit("the machine-id", id);
    }
    if !(1..=32).contains(&guest.address.1) {
        return unfit("the prefix length", &guest.address.1.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn guest() -> Guest {
        Guest {
            hostname: "desk-1".into(),
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            dns: vec![Ipv4Addr::new(10, 0, 0, 1)],
            address: (Ipv4Addr::new(10, 0, 0, 2), 24),
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            lasting: true,
            user: GuestUser {
                name: "ann".into(),
                uid: 10000,
                gid: 10000,
                home: "/home/ann".into(),
            },
        }
    }

    #[test]
    fn an_order_that_would_break_a_file_is_refused() {
        check(&guest()).unwrap();
        let spoil: [fn(&mut Guest); 8] = [
            |guest| guest.user.name = "a:b".into(),
            |guest| guest.user.name = "-a".into(),
            |guest| guest.user.uid = 0,
            |guest| guest.user.home = "/home/../etc".into(),
            |guest| guest.user.home = "/home/a\nroot".into(),
            |guest| guest.hostname = "a b".into(),
            |guest| guest.machine_id = "x".repeat(32),
            |guest| guest.address.1 = 0,
        ];
        for spoil in spoil {
            let mut guest = guest();
            spoil(&mut guest);
            assert!(matches!(check(&guest), Err(GuestError::Unfit { .. })), "{guest:?}");
        }
    }
}
