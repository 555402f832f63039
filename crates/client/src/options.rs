//! The command line.

use std::path::PathBuf;

use clap::Parser;
use wire::session::{Geometry, Keyboard, Link};

use crate::failure::{EXIT_CODES, Failure};

const AFTER_HELP: &str =
    "The password is asked for on the terminal, or taken from --password-file \
or from QVDPASSWORD; never from the command line, where others could read it.

A server is trusted when its certificate is the one it showed the first time; it is remembered in \
~/.config/qvd/known_hosts.";

/// Shows a QVD desktop on this machine's display.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(name = "qvd-client", version, after_help = AFTER_HELP, after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(crate) struct Options {
    /// Servers, as HOST or HOST:PORT; the first that answers is taken.
    #[arg(value_name = "HOST")]
    pub(crate) hosts: Vec<String>,

    /// The server; the same as HOST.
    #[arg(long, env = "QVDHOST", hide_env_values = true)]
    pub(crate) host: Option<String>,

    /// The servers' port, where HOST does not name one.
    #[arg(long, env = "QVDPORT", default_value_t = 8443)]
    pub(crate) port: u16,

    /// Your user name there; the one here if not given.
    #[arg(long, short, env = "QVDLOGIN", hide_env_values = true)]
    pub(crate) user: Option<String>,

    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// The desktop's name or number; needed only by those who have several.
    #[arg(long, value_name = "NAME|ID")]
    pub(crate) vm: Option<String>,

    /// How fast the network is: modem, isdn, adsl, wan, lan or local.
    #[arg(long, default_value = "adsl")]
    pub(crate) link: Link,

    /// Size of the desktop's window in pixels.
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub(crate) geometry: Option<Geometry>,

    /// Let the desktop cover the screen.
    #[arg(long, short)]
    pub(crate) fullscreen: bool,

    /// Keyboard model and layout, such as pc105/es; found out if not given.
    #[arg(long, value_name = "MODEL/LAYOUT")]
    pub(crate) keyboard: Option<Keyboard>,

    /// List your desktops and end.
    #[arg(long, conflicts_with = "stop")]
    pub(crate) list: bool,

    /// With --list: as JSON.
    #[arg(long, requires = "list")]
    pub(crate) json: bool,

    /// Stop the desktop and end.
    #[arg(long)]
    pub(crate) stop: bool,

    /// End when the connection is lost, instead of resuming.
    #[arg(long)]
    pub(crate) no_reconnect: bool,

    /// How long to try to resume a lost connection.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) retry_for: u64,

    /// Trust a server met for the first time without asking. One whose certificate has changed is
    /// still refused.
    #[arg(long)]
    pub(crate) accept_new_certificate: bool,

    /// Show what nxproxy says.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Options {
    /// The servers to try, in order.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>, Failure> {
        // A HOST on the command line goes before the environment's.
        let given: Vec<&String> = if self.hosts.is_empty() {
            self.host.iter().collect()
        } else {
            self.hosts.iter().collect()
        };
        if given.is_empty() {
            return Err(Failure::Usage("name the server: qvd-client HOST".to_owned()));
        }
        given.into_iter().map(|text| address(text, self.port)).collect()
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address.
fn address(text: &str, port: u16) -> Result<Address, Failure> {
    let bad = || Failure::Usage(format!("`{text}` is no server: write HOST or HOST:PORT"));
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        inner.split_once(']').ok_or_else(bad)?
    } else if text.matches(':').count() == 1 {
        text.split_at(text.find(':').unwrap_or(text.len()))
    } else {
        (text, "")
    };
    let port = match rest.strip_prefix(':') {
        Some(number) => number.parse().map_err(|_| bad())?,
        None if rest.is_empty() => port,
        None => return Err(bad()),
    };
    // It goes into a request's head and into the file of known servers.
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad());
    }
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        let help = Options::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("QVDHOST"));
        assert!(!help.contains("--password "), "a password is never an option");
    }

    #[test]
    fn servers_are_named_in_every_usual_way() {
        for (text, host, port) in [
            ("desk.example", "desk.example", 8443),
            ("desk.example:443", "desk.example", 443),
            ("192.0.2.1:9", "192.0.2.1", 9),
            ("2001:db8::1", "2001:db8::1", 8443),
            ("[2001:db8::1]", "2001:db8::1", 8443),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            let expected = Address { host: host.to_owned(), port };
            assert_eq!(address(text, 8443), Ok(expected), "{text}");
        }
        for text in ["", ":1", "a:b", "[::1", "[::1]x", "a b", "a:99999", "a\nb"] {
            assert!(matches!(address(text, 1), Err(Failure::Usage(_))), "{text}");
        }
    }
}
