//! What the guest's process 1 is, and how to speak with it.

use std::{
    fs,
    io::Read,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::command::{self, CommandError};

/// How often a thing that gives no sign of itself is looked at again.
const GLANCE: Duration = Duration::from_millis(10);

/// The kind of init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Init {
    /// systemd runs and has mounted what it mounts.
    Systemd,
    /// Any other.
    Other,
}

impl Init {
    /// The kind that runs now.
    pub(crate) fn now() -> Self {
        if Path::new("/run/systemd/system").is_dir() { Self::Systemd } else { Self::Other }
    }

    /// The kind, once it can be known: an init that will be systemd mounts a new `/run` first and
    /// would cover what we put there before. Gives up waiting after 10 s.
    pub(crate) fn settled() -> Self {
        let end = Instant::now() + Duration::from_secs(10);
        while Self::now() == Self::Other && on_its_way() && Instant::now() < end {
            thread::sleep(GLANCE);
        }
        Self::now()
    }
}

/// Whether process 1 is the container's launcher still, or a systemd that has just begun.
fn on_its_way() -> bool {
    let name = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let program = fs::read_link("/proc/1/exe").unwrap_or_default();
    name.starts_with("lxc-") || program.file_name().is_some_and(|name| name == "systemd")
}

/// Waits until systemd takes orders, for at most `limit`; says whether it does.
pub(crate) fn takes_orders(limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        if UnixStream::connect("/run/systemd/private").is_ok() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(GLANCE);
    }
}

/// Has the guest shut down in good order.
pub(crate) fn power_off() -> Result<(), CommandError> {
    let limit = Duration::from_secs(10);
    if Init::now() == Init::Systemd
        && let Some(systemctl) = command::find("systemctl")
    {
        return command::run(
            command::program(systemctl).args(["poweroff", "--no-block", "--no-ask-password"]),
            limit,
        )
        .map(|_| ());
    }
    let poweroff = command::find("poweroff");
    if poweroff.is_some_and(|path| command::run(&mut command::program(path), limit).is_ok()) {
        return Ok(());
    }
    // What LXC sends an init that it knows nothing of. One that ignores it is stopped from outside.
    let _ = rustix::process::kill_process(rustix::process::Pid::INIT, Signal::POWER);
    Ok(())
}

/// The locale settings of the image: `LANG` and the like, from where distributions keep them.
pub(crate) fn locale() -> Vec<(String, String)> {
    ["/etc/locale.conf", "/etc/default/locale"]
        .iter()
        .filter_map(|path| {
            let mut text = String::new();
            fs::File::open(path).ok()?.take(16 * 1024).read_to_string(&mut text).ok()?;
            Some(assignments(&text))
        })
        .flatten()
        .filter(|(name, _)| name == "LANG" || name == "LANGUAGE" || name.starts_with("LC_"))
        .collect()
}

/// The `NAME=value` lines of a shell-like file; quotes around a whole value are taken off.
fn assignments(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
        .map(|(name, value)| {
            let bare = ['"', '\'']
                .iter()
                .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote))
                .unwrap_or(value);
            (name.to_owned(), bare.to_owned())
        })
        .filter(|(_, value)| !value.contains('\0'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn locale_files_of_all_tastes_are_read() {
        let text =
            "# comment\nLANG=\"en_US.UTF-8\"\nLC_TIME='de_DE.UTF-8'\nLANGUAGE=de:en\nx y=1\n=\n";
        let expected = [("LANG", "en_US.UTF-8"), ("LC_TIME", "de_DE.UTF-8"), ("LANGUAGE", "de:en")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(assignments(text), expected);
    }

    proptest! {
        #[test]
        fn foreign_text_never_panics(text in ".*") {
            for (name, value) in assignments(&text) {
                prop_assert!(!name.contains(['=', '\0']) && !value.contains('\0'));
            }
        }
    }
}
