//! Answers hkd on the socket it was given.
//!
//! Every connection has a thread of its own; there are few. Nothing here outlives the agent: the
//! session is kept by its supervisor, and the guest's state is what its files say.

mod conversation;
pub(crate) mod detach;
mod progress;
mod registry;
mod watch;

use std::{
    io::Write,
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context;
use wire::agent::GuestUser;

use crate::{init::Init, log};

/// More connections than this are turned away.
const CONNECTIONS_MAX: usize = 64;

/// What the threads share.
#[derive(Debug, Default)]
struct Agent {
    /// The user whom the guest was prepared for.
    user: Mutex<Option<GuestUser>>,
    /// Held while the guest is prepared or a session started: one at a time.
    busy: Mutex<()>,
    /// Where the session is.
    watch: watch::Watch,
    connections: AtomicUsize,
}

impl Agent {
    /// Our turn to prepare the guest or to start a session.
    fn busy(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part `serve`, started by [`detach`]: the listening socket is our standard input, and who
/// started us waits for a word on our standard output.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = UnixListener::from(
        rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
            .context("there is no socket to serve")?,
    );
    rustix::process::setsid().context("cannot leave the caller's terminal")?;
    std::env::set_current_dir("/").context("cannot go to /")?;
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    // Caught, not ignored: the programs we start would inherit the latter.
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::new(AtomicBool::new(false)))
        .context("cannot ignore a hang-up")?;
    let agent = Arc::new(Agent::default());
    spawn("registry", || {
        // Only now is /run the one that stays.
        Init::settled();
        registry::prepare_folder();
        log::open(Path::new("/run/qvd/agent.log"));
        registry::stay_in_charge();
    })?;
    let watching = Arc::clone(&agent);
    spawn("watch", move || watching.watch.run())?;
    std::io::stdout().write_all(b"ready\n").context("nobody waits for us")?;
    detach::leave_standard_streams()?;
    accept(&agent, &listener)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(|_| ())
        .with_context(|| format!("cannot start the thread {name}"))
}

fn accept(agent: &Arc<Agent>, listener: &UnixListener) -> anyhow::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, say: it passes when connections end.
                log::line(format_args!("cannot accept: {error}"));
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if agent.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            agent.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let shared = Arc::clone(agent);
        let served = spawn("conversation", move || {
            if let Err(error) = conversation::hold(&shared, stream) {
                log::line(format_args!("a conversation ended: {error}"));
            }
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = served {
            agent.connections.fetch_sub(1, Ordering::Relaxed);
            log::line(format_args!("{error:#}"));
        }
    }
}
