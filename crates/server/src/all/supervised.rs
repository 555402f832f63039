//! A daemon under the supervisor: started, watched, started again, ended.

use std::{
    ffi::OsString,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until, timeout_at},
};

/// A daemon that ran this long is started again at once when it ends.
const WORKED: Duration = Duration::from_secs(10);
/// So is one that had said that it works and was ended by another, however often that happens: it is
/// not what fails, and its clients wait.
const WORKED_UNTIL_ENDED: Duration = Duration::from_secs(1);
/// The pause before the second start of a daemon that keeps ending; it doubles with each.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a daemon is and is given.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// All of its environment.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Descriptors handed down, each with the option that names it.
    pub(super) sockets: Vec<(&'static str, OwnedFd)>,
    /// The user and group it runs as; the supervisor's when none.
    pub(super) account: Option<(u32, u32)>,
}

/// A daemon and how it fares.
#[derive(Debug)]
pub(super) struct Supervised {
    program: Program,
    child: Option<Child>,
    /// When it is started again, if it does not run.
    again: Option<Instant>,
    begun: Instant,
    ready: bool,
    /// How often it ended, or could not be started, since it last worked.
    failures: u32,
}

/// What happens to a daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// It ended by itself.
    Ended(ExitStatus),
    /// The pause before its next start is over.
    Due,
}

impl Supervised {
    pub(super) fn new(program: Program) -> Self {
        let begun = Instant::now();
        Self { program, child: None, again: None, begun, ready: false, failures: 0 }
    }

    /// Starts it. When it cannot be started, that counts as an end.
    pub(super) fn start(&mut self) {
        let daemon = self.program.name;
        self.again = None;
        self.begun = Instant::now();
        match self.program.spawn() {
            Ok(child) => {
                tracing::info!(daemon, pid = child.id(), "started");
                self.child = Some(child);
            }
            Err(error) => {
                let pause = self.pause(false);
                tracing::error!(daemon, ?pause, "cannot be started: {error:#}");
            }
        }
    }

    /// The next thing that happens to it. Dropping this future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Event> {
        match (&mut self.child, self.again) {
            (Some(child), _) => {
                child.wait().await.map(Event::Ended).context("cannot wait for a daemon")
            }
            (None, Some(again)) => {
                sleep_until(again).await;
                Ok(Event::Due)
            }
            (None, None) => std::future::pending().await,
        }
    }

    /// Answers to what happened: a daemon that ended is started again, at once or after a pause that
    /// grows when it keeps ending.
    pub(super) fn take(&mut self, event: Event) {
        let Event::Ended(status) = event else { return self.start() };
        let daemon = self.program.name;
        self.child = None;
        // A fault of its own ends it by a signal too.
        let killed = matches!(status.signal(), Some(libc::SIGKILL | libc::SIGTERM));
        let pause = self.pause(killed);
        self.ready = false;
        if killed {
            tracing::info!(daemon, %status, ?pause, "it was ended; it is started again");
        } else {
            tracing::error!(daemon, %status, ?pause, "it ended; it is started again");
        }
    }

    /// Counts a failure, and sets the next start.
    fn pause(&mut self, killed: bool) -> Duration {
        let enough = if killed && self.ready { WORKED_UNTIL_ENDED } else { WORKED };
        if self.begun.elapsed() >= enough {
            self.failures = 0;
        }
        let pause = match self.failures {
            0 if killed => Duration::ZERO,
            failures => (PAUSE * 2_u32.pow(failures.min(10))).min(PAUSE_MAX),
        };
        self.failures += 1;
        self.again = Some(Instant::now() + pause);
        pause
    }

    /// Somebody said that it works: was it this daemon?
    pub(super) fn said_ready(&mut self, pid: Pid) {
        self.ready |= self.pid() == Some(pid);
    }

    /// Whether it works.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The process, while it runs.
    pub(super) fn pid(&self) -> Option<Pid> {
        let pid = self.child.as_ref()?.id()?;
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    /// Asks it to end, and starts it no more.
    pub(super) fn tell_to_end(&mut self) {
        self.again = None;
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits until it has ended.
    pub(super) async fn gone(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.wait().await;
            self.child = None;
        }
    }

    /// Waits until it has ended, and ends it when that takes too long.
    pub(super) async fn end_by(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.gone()).await.is_ok() {
            return;
        }
        let daemon = self.program.name;
        tracing::warn!(daemon, "it did not end when told to, and is ended");
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }
}

impl Program {
    fn spawn(&self) -> Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "the one place where daemons are started")]
        let mut command = std::process::Command::new(&self.path);
        command.args(&self.arguments);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Copies that are not closed on exec; this process keeps the originals.
        let mut copies = Vec::new();
        for (option, socket) in &self.sockets {
            let copy = rustix::io::dup(socket.as_fd()).context("cannot hand a socket down")?;
            command.arg(option).arg(copy.as_raw_fd().to_string());
            copies.push(copy);
        }
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        let child = Command::from(command).kill_on_drop(true).spawn();
        drop(copies);
        child.with_context(|| self.path.display().to_string())
    }
}
