//! The guest's names: host name, machine-id, and the servers it asks for others'.

use std::{fs, path::Path};

use wire::agent::Guest;

use super::{
    GuestError,
    file::{self, Files},
};

/// Sets them, now and for the guest's programs that read files.
pub(super) fn set(guest: &Guest, files: Files) -> Result<(), GuestError> {
    if rustix::system::uname().nodename().to_bytes() != guest.hostname.as_bytes() {
        rustix::system::sethostname(guest.hostname.as_bytes())
            .map_err(|error| GuestError::Hostname(error.into()))?;
    }
    let line = |text: &str| format!("{text}\n").into_bytes();
    files.replace(Path::new("/etc/hostname"), &line(&guest.hostname), 0o644)?;
    let path = Path::new("/etc/hosts");
    let old = file::read(path)?.unwrap_or_default();
    files.replace(
        path,
        &hosts(&String::from_utf8_lossy(&old), &guest.hostname).into_bytes(),
        0o644,
    )?;
    if !guest.dns.is_empty() {
        let servers: String = guest
            .dns
            .iter()
            .flat_map(|server| ["nameserver ".to_owned(), server.to_string(), "\n".to_owned()])
            .collect();
        files.replace(Path::new("/etc/resolv.conf"), servers.as_bytes(), 0o644)?;
    }
    let id = line(&guest.machine_id.to_ascii_lowercase());
    files.replace(Path::new("/etc/machine-id"), &id, 0o444)?;
    // Most often a link to the other, and then it is right already.
    let bus = Path::new("/var/lib/dbus/machine-id");
    if fs::symlink_metadata(bus).is_ok_and(|found| found.is_file()) {
        files.replace(bus, &id, 0o444)?;
    }
    Ok(())
}

/// `hosts` in which the host's own name means the host itself.
fn hosts(old: &str, hostname: &str) -> String {
    const OWN: &str = "127.0.1.1";
    let words = |line: &str| -> Vec<String> {
        line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    if old.lines().any(|line| words(line).iter().skip(1).any(|name| name == hostname)) {
        return old.to_owned();
    }
    let mut lines: Vec<String> = old
        .lines()
        .filter(|line| words(line).first().is_none_or(|address| address != OWN))
        .map(str::to_owned)
        .collect();
    let has =
        |address: &str| lines.iter().any(|line| words(line).first().is_some_and(|a| a == address));
    let (v4, v6) = (has("127.0.0.1"), has("::1"));
    if !v4 {
        lines.insert(0, "127.0.0.1\tlocalhost".to_owned());
    }
    let behind = lines
        .iter()
        .position(|line| words(line).first().is_some_and(|address| address == "127.0.0.1"))
        .map_or(0, |at| at + 1);
    lines.insert(behind, format!("{OWN}\t{hostname}"));
    if !v6 {
        lines.push("::1\tlocalhost ip6-localhost ip6-loopback".to_owned());
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_own_name_is_added_or_renewed() {
        let from_nothing = hosts("", "desk");
        assert_eq!(
            from_nothing,
            "127.0.0.1\tlocalhost\n127.0.1.1\tdesk\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        );
        assert_eq!(hosts(&from_nothing, "desk"), from_nothing);
        let old = "127.0.0.1 localhost\n127.0.1.1 old # me\n::1 localhost\n10.0.0.9 other\n";
        assert_eq!(
            hosts(old, "desk"),
            "127.0.0.1 localhost\n127.0.1.1\tdesk\n::1 localhost\n10.0.0.9 other\n"
        );
        let theirs = "10.0.0.2 desk.example desk\n";
        assert_eq!(hosts(theirs, "desk"), theirs);
    }

    proptest! {
        #[test]
        fn any_file_is_right_after_one_edit(old in "[ -~\n\t]*") {
            let once = hosts(&old, "desk");
            prop_assert_eq!(hosts(&once, "desk"), once);
        }
    }
}
