//! `qvd all`: prepares the host, then runs the three daemons as processes of their own and starts
//! again what ends. Stopping it stops the daemons; desktops go on.

use std::{
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::UnixDatagram,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{account, config::Config, daemon, prepare, sockets};

/// How long a daemon has to end when told to.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// A daemon that worked this long is started again at once when it ends.
const WORKED: Duration = Duration::from_secs(10);
/// The longest pause before a daemon that keeps ending is started again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A daemon and what it is given.
struct Daemon {
    name: &'static str,
    /// Descriptors handed down, each with the option that names it.
    sockets: Vec<(&'static str, OwnedFd)>,
    /// The user and group it runs as; root when none.
    account: Option<(u32, u32)>,
    child: Option<Child>,
    begun: Instant,
    failures: u32,
}

/// Runs the host until told to stop.
pub(crate) fn run(config: &Config) -> Result<()> {
    daemon::log();
    prepare::folders(config)?;
    // Death signals follow the thread that forked: everything here happens on one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(supervise(config))
}

async fn supervise(config: &Config) -> Result<()> {
    prepare::database(config).await?;
    let account = account::ids()?;
    let admin = sockets::unix(&sockets::admin_path(config)?, None)?;
    let internal = sockets::unix(&sockets::internal_path(config)?, Some(account))?;
    let tls = sockets::tls(config)?;
    let api = vec![("--admin-fd", admin.into()), ("--internal-fd", internal.into())];
    let mut daemons = [
        Daemon::new("hkd", Vec::new(), None),
        Daemon::new("api", api, Some(account)),
        Daemon::new("l7r", vec![("--listen-fd", tls.into())], Some(account)),
    ];
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let notices = Notices::new(config)?;
    for daemon in &mut daemons {
        daemon.start(config, &notices)?;
    }
    let mut waiting = daemons.len();
    let ended = loop {
        let [hkd, api, l7r] = &mut daemons;
        tokio::select! {
            biased;
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            // Always heard: a daemon would wait for ever to be, once the socket is full.
            ready = notices.next() => {
                if ready? && waiting > 0 {
                    waiting -= 1;
                    if waiting == 0 {
                        tracing::info!("all daemons work");
                        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
                    }
                }
            }
            status = hkd.ended() => hkd.again(status?, config, &notices).await?,
            status = api.ended() => api.again(status?, config, &notices).await?,
            status = l7r.ended() => l7r.again(status?, config, &notices).await?,
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping the daemons; desktops go on");
    // The router first: its clients are told while those it asks still answer.
    for daemon in daemons.iter_mut().rev() {
        daemon.stop().await;
    }
    ended
}

impl Daemon {
    fn new(
        name: &'static str,
        sockets: Vec<(&'static str, OwnedFd)>,
        account: Option<(u32, u32)>,
    ) -> Self {
        Self { name, sockets, account, child: None, begun: Instant::now(), failures: 0 }
    }

    fn start(&mut self, config: &Config, notices: &Notices) -> Result<()> {
        let doing = || format!("cannot start {}", self.name);
        let program = std::env::current_exe().with_context(doing)?;
        #[expect(clippy::disallowed_methods, reason = "the one place where daemons are started")]
        let mut command = std::process::Command::new(program);
        command.arg("--config").arg(&config.path).arg(self.name);
        command.env("NOTIFY_SOCKET", &notices.path);
        // Copies that are not closed on exec; this process keeps the originals.
        let mut copies = Vec::new();
        for (option, socket) in &self.sockets {
            let copy = rustix::io::dup(socket.as_fd()).with_context(doing)?;
            command.arg(option).arg(copy.as_raw_fd().to_string());
            copies.push(copy);
        }
        if let Some((uid, gid)) = self.account {
            use std::os::unix::process::CommandExt;
            // Not root's home: libraries look there for files of theirs.
            command.uid(uid).gid(gid).env("HOME", "/nonexistent");
        }
        let child = Command::from(command).kill_on_drop(true).spawn().with_context(doing)?;
        drop(copies);
        tracing::info!(daemon = self.name, pid = child.id(), "started");
        self.child = Some(child);
        self.begun = Instant::now();
        Ok(())
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await.context("cannot wait for a daemon"),
            None => std::future::pending().await,
        }
    }

    /// Starts a daemon again that ended by itself: at once, or after a growing pause when it keeps
    /// ending.
    async fn again(
        &mut self,
        status: ExitStatus,
        config: &Config,
        notices: &Notices,
    ) -> Result<()> {
        self.child = None;
        if self.begun.elapsed() >= WORKED {
            self.failures = 0;
        }
        let killed = status.signal().is_some();
        let pause = match self.failures {
            0 if killed => Duration::ZERO,
            failures => (Duration::from_millis(250) * 2_u32.pow(failures.min(10))).min(PAUSE_MAX),
        };
        self.failures += 1;
        if killed {
            tracing::info!(daemon = self.name, %status, "it was ended; it is started again");
        } else {
            tracing::error!(daemon = self.name, %status, ?pause, "it ended; it is started again");
        }
        sleep(pause).await;
        self.start(config, notices)
    }

    async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(STOP_WITHIN, child.wait()).await.is_err() {
            tracing::warn!(daemon = self.name, "it did not end when told to, and is ended");
            let _ = child.kill().await;
        }
    }
}

/// Where the daemons say that they are ready, in the way they would say it to systemd.
struct Notices {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Notices {
    fn new(config: &Config) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let path = config.folder("path.run")?.join("notify.sock");
        let _ = std::fs::remove_file(&path);
        let doing = || format!("cannot listen on {}", path.display());
        let socket = UnixDatagram::bind(&path).with_context(doing)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
            .with_context(doing)?;
        Ok(Self { path, socket })
    }

    /// Whether the next notice says that a daemon is ready.
    async fn next(&self) -> Result<bool> {
        let mut buffer = [0; 512];
        let read = self.socket.recv(&mut buffer).await.context("cannot hear the daemons")?;
        let said = buffer.get(..read).unwrap_or_default();
        Ok(said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1"))
    }
}
