//! REST over the administrator's socket, and what the router asks.
//!
//! The one writer of definitions, and of what is wanted of VMs. It runs as an unprivileged user, and
//! nothing here changes a machine: it writes rows and wakes those who read them.
//!
//! | file | holds |
//! |---|---|
//! | `admin` | the administrator's socket: who may speak, and the table of routes |
//! | `users`, `hosts`, `osfs`, `dis`, `vms`, `configs`, `ssl`, `operations`, `status` | handlers, by noun |
//! | `broker` | the router's socket: who is it, list, want this VM |
//! | `power`, `standing` | starts and stops, and where a VM stands; used by both sockets |
//! | `context`, `extract`, `fault`, `filter` | what all handlers share |

mod admin;
mod broker;
mod configs;
mod context;
mod dis;
mod extract;
mod fault;
mod filter;
mod hosts;
mod operations;
mod osfs;
mod peer;
mod power;
mod ssl;
mod standing;
mod status;
mod users;
mod vms;

use std::{io, os::unix::net::UnixListener, sync::Arc};

use model::settings::Settings;
use store::Store;
use tokio_util::sync::CancellationToken;

use context::Context;

/// What the api is given by who starts it.
#[derive(Debug)]
pub struct Config {
    /// The database: the setting `database.url`, resolved.
    pub store_url: String,
    /// The settings of the node's file; the api lays those of the installation over them.
    pub settings: Settings,
    /// The administrator's socket, bound: mode 0600, owner root or the api's user.
    pub admin: UnixListener,
    /// The router's socket, bound: mode 0600, owner the router's user.
    pub internal: UnixListener,
}

/// Why the api cannot begin, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the api cannot use its database")]
    Store(#[from] store::Error),
    /// A socket.
    #[error("the api cannot use the {which} socket")]
    Socket {
        /// Which of the two.
        which: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A setting that everything depends on.
    #[error("the settings are wrong")]
    Settings(#[from] model::settings::BadSetting),
}

/// Serves both sockets until `shutdown` is cancelled. Open sessions do not depend on it.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let store = Store::open(&config.store_url).await?;
    let admin = listener(config.admin, "administrator's")?;
    let internal = listener(config.internal, "router's")?;
    let context = Arc::new(Context::new(store, config.settings, shutdown.clone())?);
    dis::mend::mend(&context).await;
    ssl::hand_over(&context).await;
    tracing::info!(node = context.node(), "the api is ready");
    let (admin, ()) = tokio::join!(
        admin::serve(context.clone(), admin),
        broker::serve(context.clone(), internal),
    );
    // What was begun for someone who went away.
    context.work().close();
    context.work().wait().await;
    context.store().close().await;
    admin.map_err(|source| Error::Socket { which: "administrator's", source })
}

fn listener(
    listener: UnixListener,
    which: &'static str,
) -> Result<tokio::net::UnixListener, Error> {
    let failed = |source| Error::Socket { which, source };
    listener.set_nonblocking(true).map_err(failed)?;
    tokio::net::UnixListener::from_std(listener).map_err(failed)
}
