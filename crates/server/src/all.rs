//! `qvd all`: prepares the host, then runs the three daemons as processes of their own and starts
//! again what ends. Stopping it stops the daemons, and so does its death; desktops go on.

mod environment;
mod notices;
mod supervised;

use std::{env, future::Future, io, net::TcpListener, time::Duration};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{account::Account, config::Config, daemon, prepare, sockets};
use notices::Notices;
use supervised::{Program, Supervised};

/// How long all daemons together have to end when told to.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// How long the router may end its connections while those it asks still answer.
const ROUTER_FIRST: Duration = Duration::from_secs(3);
/// How long the router's port may still be held by the daemons of a supervisor that died.
const PORT_WITHIN: Duration = Duration::from_secs(10);

/// Runs the host until told to stop.
pub(crate) fn run(config: &Config) -> Result<()> {
    daemon::log();
    // A daemon is told of the death of the thread that started it, which is to be this one: it
    // lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let stop = until_told()?;
        prepare::host(config).await?;
        let account = Account::of_this_machine()?;
        let notices = Notices::new(&config.folder("path.run")?, account.gid)?;
        let mut daemons = daemons(config, &account, &notices).await?;
        supervise(&mut daemons, &notices, stop).await
    })
}

/// For a daemon of a supervisor: when that dies, this process is told to end.
pub(crate) fn end_with(supervisor: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot follow the supervisor")?;
    // It may have died before.
    anyhow::ensure!(getppid() == Pid::from_raw(supervisor), "the supervisor is gone");
    Ok(())
}

/// Completes at the signal that tells a service to end.
fn until_told() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// hkd, api and l7r, not started yet, with the sockets that clients of theirs know.
async fn daemons(config: &Config, account: &Account, notices: &Notices) -> Result<[Supervised; 3]> {
    let admin = sockets::unix(&sockets::admin_path(config)?, None)?;
    let internal = sockets::unix(&sockets::internal_path(config)?, Some(account.ids()))?;
    let tls = router_socket(config).await?;
    // Asked once: the name of a program that was replaced ends in ` (deleted)`.
    let path = env::current_exe().context("cannot find this program's own path")?;
    let daemon = |name: &'static str, sockets, account: Option<&Account>| {
        let mut environment = environment::of(name, account, env::vars_os());
        environment.push(("NOTIFY_SOCKET".into(), notices.path().into()));
        let arguments = [
            "--config".into(),
            config.path.clone().into_os_string(),
            name.into(),
            "--supervisor".into(),
            getpid().as_raw_nonzero().to_string().into(),
        ];
        Supervised::new(Program {
            name,
            path: path.clone(),
            arguments: arguments.into(),
            environment,
            sockets,
            account: account.map(Account::ids),
        })
    };
    let api = vec![("--admin-fd", admin.into()), ("--internal-fd", internal.into())];
    Ok([
        daemon("hkd", Vec::new(), None),
        daemon("api", api, Some(account)),
        daemon("l7r", vec![("--listen-fd", tls.into())], Some(account)),
    ])
}

/// Makes the router's socket; the daemons of a supervisor that died may be about to leave it.
async fn router_socket(config: &Config) -> Result<TcpListener> {
    let deadline = Instant::now() + PORT_WITHIN;
    let mut told = false;
    loop {
        let error = match sockets::tls(config) {
            Ok(socket) => return Ok(socket),
            Err(error) => error,
        };
        let taken = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if taken != Some(io::ErrorKind::AddrInUse) || Instant::now() >= deadline {
            return Err(error);
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!("the router's port is taken; waiting until it is free");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Keeps the daemons running until `stop`, or until they cannot be watched any more; then ends them.
async fn supervise(
    daemons: &mut [Supervised; 3],
    notices: &Notices,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    for daemon in daemons.iter_mut() {
        daemon.start();
    }
    let watched = tokio::select! {
        biased;
        () = stop => Ok(()),
        failed = watch(daemons, notices) => failed,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping the daemons; desktops go on");
    end(daemons).await;
    watched
}

/// Starts again what ends, and says when all work. Returns only when it cannot.
async fn watch(daemons: &mut [Supervised; 3], notices: &Notices) -> Result<()> {
    let mut all_work = false;
    loop {
        let [hkd, api, l7r] = &mut *daemons;
        tokio::select! {
            biased;
            // Always heard: a daemon would wait for ever to be, once the socket is full.
            ready = notices.next() => {
                let ready = ready?;
                for daemon in daemons.iter_mut() {
                    daemon.said_ready(ready);
                }
                if !all_work && daemons.iter().all(Supervised::is_ready) {
                    all_work = true;
                    tracing::info!("all daemons work");
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
                }
            }
            event = hkd.next() => hkd.take(event?),
            event = api.next() => api.take(event?),
            event = l7r.next() => l7r.take(event?),
        }
    }
}

/// Ends the daemons, the router first: its clients are told while those it asks still answer.
async fn end(daemons: &mut [Supervised; 3]) {
    let deadline = Instant::now() + STOP_WITHIN;
    let [hkd, api, l7r] = &mut *daemons;
    l7r.tell_to_end();
    let _ = timeout(ROUTER_FIRST, l7r.gone()).await;
    api.tell_to_end();
    hkd.tell_to_end();
    for daemon in daemons {
        daemon.end_by(deadline).await;
    }
}

#[cfg(test)]
mod tests;
