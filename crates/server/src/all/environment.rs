//! What of the supervisor's environment a daemon gets: root's may hold anything, passwords too.

use std::ffi::OsString;

use crate::account::Account;

/// For every daemon.
const ALL: [&str; 5] = ["PATH", "TZ", "QVD_LOG", "RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
/// For those that open the database, besides PostgreSQL's own variables.
const DATABASE: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
/// What PostgreSQL's variables begin with; one of them is a password.
const POSTGRESQL: &str = "PG";
/// For a daemon that has no files of its own in a home.
const NOWHERE: &str = "/nonexistent";

/// The environment of a daemon that runs as an account, or as root.
pub(super) fn of(
    daemon: &str,
    account: Option<&Account>,
    given: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let router = daemon == "l7r";
    let passes = |name: &str| {
        ALL.contains(&name)
            || !router && (DATABASE.contains(&name) || name.starts_with(POSTGRESQL))
            || account.is_none() && name == "HOME"
    };
    let mut environment: Vec<_> =
        given.filter(|(name, _)| name.to_str().is_some_and(passes)).collect();
    // Not root's home: libraries look there for files of theirs.
    if let Some(account) = account {
        let home = if router { NOWHERE.into() } else { account.home.clone().into_os_string() };
        environment.push(("HOME".into(), home));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_gets_what_it_needs_and_the_router_nothing_of_the_database() {
        let account = Account { uid: 998, gid: 997, home: "/var/lib/qvd".into() };
        let of = |daemon, account| {
            let given = [
                ("HOME", "/root"),
                ("PATH", "/bin"),
                ("PGPASSWORD", "x"),
                ("AWS_SECRET", "x"),
                ("LD_PRELOAD", "/x.so"),
                ("QVD_LOG", "debug"),
            ];
            let given = given.into_iter().map(|(name, value)| (name.into(), value.into()));
            let mut environment: Vec<String> = of(daemon, account, given)
                .into_iter()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect();
            environment.sort();
            environment.join(" ")
        };
        assert_eq!(of("hkd", None), "HOME=/root PATH=/bin PGPASSWORD=x QVD_LOG=debug");
        assert_eq!(
            of("api", Some(&account)),
            "HOME=/var/lib/qvd PATH=/bin PGPASSWORD=x QVD_LOG=debug"
        );
        assert_eq!(of("l7r", Some(&account)), "HOME=/nonexistent PATH=/bin QVD_LOG=debug");
    }
}
