//! The three daemons, each from its arguments to its end.

use std::{net::TcpListener, os::unix::net::UnixListener, path::Path, time::SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{account::Account, config::Config, confine, sockets};

/// Runs hkd.
pub(crate) fn hkd(config: &Config) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "hkd needs root: it starts containers");
    log();
    let router = Account::of_this_machine()?.ids();
    let vma = config.vma()?;
    ensure!(vma.exists(), "the agent {} is not there: install it, or set path.vma", vma.display());
    // Each desktop takes some.
    descriptors();
    // Before there is a second thread: each has its own.
    confine::keep_needed()?;
    let hkd = hkd::Config { file: config.settings.clone(), host: config.host()?, vma, router };
    runtime()?.block_on(async {
        let stop = until_told()?;
        hkd::run(hkd, ready, stop).await.context("hkd cannot work")
    })
}

/// Runs the router.
pub(crate) fn l7r(config: &Config, listen_fd: Option<i32>) -> Result<()> {
    log();
    let listener = match listen_fd.or_else(|| sockets::handed("router")) {
        Some(number) => TcpListener::from(sockets::inherited(number)?),
        None => sockets::tls(config)?,
    };
    listener.set_nonblocking(true)?;
    #[expect(clippy::disallowed_methods, reason = "the router's clock, for its certificate")]
    let now = SystemTime::now();
    let l7r = l7r::Config {
        listener,
        api_socket: sockets::internal_path(config)?,
        hkd_socket: sockets::attach_path(config)?,
        ssl_dir: config.folder("path.ssl")?,
        now,
        limits: l7r::Limits::within(descriptors()),
    };
    // Last: what follows, and every thread it starts, faces the network.
    confine::hide()?;
    confine::to_folder(&l7r.ssl_dir)?;
    confine::refuse_calls()?;
    runtime()?.block_on(async {
        let stop = until_told()?;
        ready();
        l7r::run(l7r, stop).await.context("the router cannot work")
    })
}

/// Runs the api.
pub(crate) fn api(config: &Config, admin: Option<i32>, internal: Option<i32>) -> Result<()> {
    log();
    // Each client that is attached takes one.
    descriptors();
    // The router runs as the same user.
    confine::hide()?;
    confine::refuse_calls()?;
    let socket = |number: Option<i32>, name: &str, path: &Path| match number
        .or_else(|| sockets::handed(name))
    {
        Some(number) => Ok(UnixListener::from(sockets::inherited(number)?)),
        None => sockets::unix(path, None),
    };
    let admin = socket(admin, "admin", &sockets::admin_path(config)?)?;
    let internal = socket(internal, "internal", &sockets::internal_path(config)?)?;
    let api = api::Config {
        store_url: config.settings.get("database.url")?,
        settings: config.settings.clone(),
        admin,
        internal,
    };
    runtime()?.block_on(async {
        let stop = until_told()?;
        ready();
        api::run(api, stop).await.context("the api cannot work")
    })
}

/// Takes as many descriptors as this process may have, and says how many these are.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the number of open files");
            current
        }
    };
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// A runtime for a daemon.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    give_memory_back();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

/// Has the allocator give back what is freed: else each thread keeps what it needed once, and the place in
/// which a password was checked stays.
#[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    for (what, most) in [
        (libc::M_ARENA_MAX, 2),
        (libc::M_MMAP_THRESHOLD, 256 << 10),
        (libc::M_TRIM_THRESHOLD, 256 << 10),
    ] {
        // SAFETY: it sets numbers of the allocator.
        unsafe { libc::mallopt(what, most) };
    }
}

/// Tells the service manager, or the supervisor, that this daemon works.
fn ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::debug!(%error, "nobody to tell that this daemon is ready");
    }
}

/// Cancelled when the daemon is told to end.
fn until_told() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        told.cancel();
    });
    Ok(stop)
}

/// Where the log goes: standard error, as much as `QVD_LOG` says, milestones otherwise.
pub(crate) fn log() {
    let filter =
        EnvFilter::try_from_env("QVD_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let written = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    // Only a second call in one process could fail.
    let _ = written;
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn all_descriptors_that_may_be_had_are_taken() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
        let taken = super::descriptors();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
        assert_eq!(taken, maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap()));
        assert!(taken > 256);
    }
}
