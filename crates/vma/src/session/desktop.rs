//! Starts the desktop's programs on the session's display.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::Pid;

use crate::{command, init};

/// Starts `program`, which stays for as long as the desktop does. It is our child and must be reaped.
///
/// It gets the environment of the login (PAM's, on most systems) and what is missing there.
pub(crate) fn start(program: &Path, display: u16, authority: &Path) -> io::Result<Pid> {
    let runtime = runtime_folder();
    let mut command = match bus_starter(runtime.as_deref()) {
        Some(starter) => {
            let mut command = command::program(starter);
            command.arg("--").arg(program);
            command
        }
        None => command::program(program),
    };
    for (name, value) in init::locale() {
        if env::var_os("LANG").is_none() {
            command.env(name, value);
        }
    }
    command.env("XDG_SESSION_TYPE", "x11");
    command.envs(environment()).env("DISPLAY", format!(":{display}")).env("XAUTHORITY", authority);
    if let Some(runtime) = runtime {
        command.env("XDG_RUNTIME_DIR", runtime);
    }
    // A home that cannot be entered must not keep the desktop away: its own message is clearer.
    if let Some(home) = env::var_os("HOME").filter(|home| Path::new(home).is_dir()) {
        command.current_dir(home);
    }
    let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    command::pid(child.id()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Ours without what is only for us.
fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    const SERVICE: [&str; 8] = [
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MANAGERPID",
        "NOTIFY_SOCKET",
        "SYSTEMD_EXEC_PID",
        "WATCHDOG_USEC",
    ];
    env::vars_os().filter(|(name, _)| !SERVICE.iter().any(|service| name == service))
}

/// The user's runtime folder: the login's, or the one the agent made.
fn runtime_folder() -> Option<PathBuf> {
    env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).or_else(|| {
        let folder = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
        folder.is_dir().then_some(folder)
    })
}

/// What to start a D-Bus of the session's own with, where the login has not.
fn bus_starter(runtime: Option<&Path>) -> Option<PathBuf> {
    let has_bus = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || runtime.is_some_and(|folder| folder.join("bus").exists());
    if has_bus { None } else { command::find("dbus-run-session") }
}
