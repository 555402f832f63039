//! Starts a supervisor through the guest's own login machinery, so that the user gets what every login
//! gets: PAM's limits and environment, a runtime folder, a D-Bus, an entry with logind.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use wire::agent::{GuestUser, Tell, failure};

use super::{
    DISPLAY, door,
    requirements::{self, Missing, Programs},
};
use crate::{
    command::{self, CommandError, executable, find},
    init::{self, Init},
    log,
    peer::Peer,
    processes,
};

/// The transient unit of a session.
const UNIT: &str = "qvd-session.service";
/// How long an image's own system may take to come up.
const SYSTEM_MAX: Duration = Duration::from_secs(90);
/// How long a login may take: systemd begins it only when the image's own services are up.
const LOGIN_MAX: Duration = Duration::from_mins(4);
/// How long the service manager may take for an answer.
const MANAGER_MAX: Duration = Duration::from_secs(30);
/// Where we put ourselves, the first one from which programs may be started.
const PROGRAM: [&str; 2] = ["/run/qvd/vma", "/var/lib/qvd/vma"];

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// The image lacks something.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Without systemd one of these two is needed.
    #[error("the image has neither systemd-run nor runuser nor su (Debian package util-linux)")]
    NoLogin,
    /// There may be a session, but it cannot be spoken to now.
    #[error("the session of {name} in the guest is out of reach: {error}")]
    OutOfReach {
        /// Whose.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// Its own system does not come up.
    #[error("the system in the guest did not come up within {} seconds", SYSTEM_MAX.as_secs())]
    System,
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
    /// A program of the guest.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The login failed.
    #[error(
        "the login of {name} ended before the session was up ({result}): see the guest's journal"
    )]
    Login {
        /// Who.
        name: String,
        /// In the words of the service manager.
        result: String,
    },
    /// The login hangs.
    #[error("the login of {name} took longer than {} seconds", LOGIN_MAX.as_secs())]
    Slow {
        /// Who.
        name: String,
    },
}

impl LaunchError {
    /// As hkd is told.
    pub(crate) fn tell(&self) -> Tell {
        let code = match self {
            Self::Missing(_) | Self::NoLogin => failure::SESSION_IMPOSSIBLE,
            Self::Login { .. } | Self::Slow { .. } => failure::SESSION_FAILED,
            _ => failure::STEP_FAILED,
        };
        Tell::Failed { code: code.to_owned(), text: self.to_string() }
    }
}

/// A conversation with the supervisor of `user`, which is started if there is none. `progress` is
/// told what takes time. One at a time.
pub(crate) fn reach(user: &GuestUser, progress: &mut dyn FnMut(&str)) -> Result<Peer, LaunchError> {
    let knocked = door::knock(user.uid)
        .map_err(|error| LaunchError::OutOfReach { name: user.name.clone(), error })?;
    if let Some(peer) = knocked {
        return Ok(peer);
    }
    let programs = requirements::look()?;
    let systemd = Init::now() == Init::Systemd && find("systemd-run").is_some();
    if systemd && !init::takes_orders(Duration::ZERO) {
        progress("Waiting for the system to come up");
        if !init::takes_orders(SYSTEM_MAX) {
            return Err(LaunchError::System);
        }
    }
    end_strays(user.uid);
    make_folders(user)?;
    let own = install()?;
    let words = supervisor(&own, user, &programs);
    progress("Opening the login");
    log::line(format_args!("starting a session for {} ({})", user.name, user.uid));
    if systemd {
        through_systemd(user, &words)?;
        wait(user, &mut || unit_result())
    } else {
        let mut login = through_login(user, &words)?;
        let found =
            wait(user, &mut || login.try_wait().ok().flatten().map(|status| status.to_string()));
        // Whoever starts a process must take note of its end, or it stays as a zombie.
        thread::spawn(move || login.wait());
        found
    }
}

/// The supervisor's command line.
fn supervisor(own: &Path, user: &GuestUser, programs: &Programs) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    [
        (text(own), "session".to_owned()),
        ("--folder".to_owned(), text(&door::folder(user.uid))),
        ("--display".to_owned(), DISPLAY.to_string()),
        ("--program".to_owned(), text(own)),
        ("--nxagent".to_owned(), text(&programs.nxagent)),
        ("--desktop".to_owned(), text(&programs.desktop)),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name, value])
    .collect()
}

fn through_systemd(user: &GuestUser, words: &[String]) -> Result<(), LaunchError> {
    let systemctl = find("systemctl").ok_or(LaunchError::NoLogin)?;
    let run = find("systemd-run").ok_or(LaunchError::NoLogin)?;
    if unit_result().is_none() {
        // A session that nobody answers for any more is on its way out, or should be.
        command::run(
            command::program(systemctl).args(["stop", "--no-ask-password", UNIT]),
            MANAGER_MAX,
        )?;
    }
    let mut command = command::program(run);
    // Without blocking: how the login gets on we see for ourselves.
    command.args(["--quiet", "--collect", "--no-block", "--no-ask-password", "--unit", UNIT]);
    command.arg(format!("--description=Desktop of {}", user.name));
    command.arg(format!("--property=User={}", user.name));
    command.arg(format!("--property=PAMName={}", pam_service()));
    command.args([
        "--property=WorkingDirectory=-~",
        // Not `exec`: PAM's helper inherits what tells systemd that the program was executed.
        "--property=Type=simple",
        "--property=KillMode=mixed",
        "--property=TimeoutStopSec=15s",
        "--property=OOMPolicy=continue",
        "--property=StandardInput=null",
        "--property=After=systemd-user-sessions.service systemd-logind.service dbus.service",
        "--setenv=XDG_SESSION_TYPE=x11",
        "--setenv=XDG_SESSION_CLASS=user",
        "--",
    ]);
    command::run(command.args(words), MANAGER_MAX)?;
    Ok(())
}

/// The PAM service that the image's own logins use.
fn pam_service() -> &'static str {
    let has = |name: &&str| {
        ["/etc/pam.d", "/usr/lib/pam.d"].iter().any(|folder| Path::new(folder).join(name).exists())
    };
    ["login", "system-login", "system-auth"].into_iter().find(has).unwrap_or("login")
}

/// How the unit ended; nothing while it runs or is about to.
fn unit_result() -> Option<String> {
    let mut command = command::program(find("systemctl")?);
    command.args(["show", "--property=ActiveState,Result,Job", UNIT]);
    // A manager too busy to answer has not said that it ended.
    let shown = command::run(&mut command, Duration::from_secs(10)).ok()?;
    result_shown(&shown)
}

/// The same from what `systemctl show` says, its lines joined by `; `.
fn result_shown(shown: &str) -> Option<String> {
    let value = |name: &str| shown.split("; ").find_map(|line| line.strip_prefix(name));
    match (value("ActiveState=")?, value("Job=").unwrap_or("0")) {
        ("inactive" | "failed", "0" | "") => Some(value("Result=").unwrap_or("unknown").to_owned()),
        // With a job it waits for others to come up.
        _ => None,
    }
}

fn through_login(user: &GuestUser, words: &[String]) -> Result<Child, LaunchError> {
    let login = find("runuser").or_else(|| find("su")).ok_or(LaunchError::NoLogin)?;
    let runtime = PathBuf::from(format!("/run/user/{}", user.uid));
    folder(Path::new("/run/user"), 0o755, None)?;
    folder(&runtime, 0o700, Some(user))?;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    command::program(&login)
        .args(["-l", &user.name, "-c", &format!("exec {}", quoted.join(" "))])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(file("start the login with", &login))
}

/// Waits for the supervisor to answer. `ended` says how its login ended, if it has.
fn wait(user: &GuestUser, ended: &mut dyn FnMut() -> Option<String>) -> Result<Peer, LaunchError> {
    let end = Instant::now() + LOGIN_MAX;
    let mut looks = 0_u32;
    loop {
        if let Ok(Some(peer)) = door::knock(user.uid) {
            return Ok(peer);
        }
        looks += 1;
        // Asking costs a process: not each time.
        if looks.is_multiple_of(50)
            && let Some(result) = ended()
        {
            return Err(LaunchError::Login { name: user.name.clone(), result });
        }
        if Instant::now() >= end {
            return Err(LaunchError::Slow { name: user.name.clone() });
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// An `nxagent` of this user without a supervisor would keep the display for itself.
fn end_strays(uid: u32) {
    let is_stray = |process: &processes::Process| {
        process.name.starts_with("nxagent") && !process.ended && process.owner() == Some(uid)
    };
    for stray in processes::all().into_iter().filter(is_stray) {
        log::line(format_args!("ending nxagent {}, which nobody looks after", stray.number));
        command::signal(stray.number, Signal::KILL, || {
            processes::Process::of(stray.number).is_some_and(|now| now.started == stray.started)
        });
    }
    // What it leaves behind; root may remove it whoever made it, and a link is not followed.
    let _ = fs::remove_file(format!("/tmp/.X{DISPLAY}-lock"));
    let _ = fs::remove_file(format!("/tmp/.X11-unix/X{DISPLAY}"));
}

fn make_folders(user: &GuestUser) -> Result<(), LaunchError> {
    folder(Path::new("/run/qvd"), 0o711, None)?;
    folder(Path::new(door::SESSIONS), 0o711, None)?;
    folder(&door::folder(user.uid), 0o700, Some(user))?;
    // An X server that is not root may not make this one itself.
    let sockets = Path::new("/tmp/.X11-unix");
    if fs::symlink_metadata(sockets).is_err() {
        folder(sockets, 0o1777, None)?;
    }
    Ok(())
}

/// A folder with this mode and owner, below one that only root writes.
fn folder(path: &Path, mode: u32, owner: Option<&GuestUser>) -> Result<(), LaunchError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => done.map_err(file("make", path))?,
    }
    if let Some(user) = owner {
        lchown(path, Some(user.uid), Some(user.gid)).map_err(file("give away", path))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("open", path))
}

/// Puts ourselves where the user can start us, and says where that is.
fn install() -> Result<PathBuf, LaunchError> {
    for path in PROGRAM.map(PathBuf::from) {
        let Some(parent) = path.parent() else { continue };
        folder(parent, 0o711, None)?;
        let fresh = path.with_extension("new");
        let failed = |verb| file(verb, &path);
        // Not over the old one: a supervisor runs from it.
        let _ = fs::remove_file(&fresh);
        fs::copy("/proc/self/exe", &fresh).map_err(failed("write"))?;
        chown(&fresh, Some(0), Some(0)).map_err(failed("own"))?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o755)).map_err(failed("open"))?;
        fs::rename(&fresh, &path).map_err(failed("place"))?;
        if executable(&path) {
            return Ok(path);
        }
        // Mounted such that nothing there can be executed.
        let _ = fs::remove_file(&path);
    }
    let error = io::ErrorKind::PermissionDenied.into();
    Err(LaunchError::File { verb: "execute anything at", path: PROGRAM.join(" or "), error })
}

fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let path = path.display().to_string();
    move |error| LaunchError::File { verb, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_waits_for_its_turn_has_not_ended() {
        let result = |shown: &str| result_shown(shown);
        assert_eq!(result("Result=success; ActiveState=inactive; Job=107"), None);
        assert_eq!(result("Result=success; ActiveState=activating; Job=107"), None);
        assert_eq!(result("Result=success; ActiveState=active"), None);
        for gone in [
            "ActiveState=failed; Result=exit-code",
            "Result=exit-code; ActiveState=inactive; Job=0",
        ] {
            assert_eq!(result(gone).as_deref(), Some("exit-code"), "{gone}");
        }
        assert_eq!(result("nonsense"), None);
    }
}
