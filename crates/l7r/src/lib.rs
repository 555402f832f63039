//! The router: TLS in, which VM, carry bytes.
//!
//! One port, one job. The l7r reads a request's head, asks the api who it is and what to do, has hkd
//! hand it the desktop's socket, and carries bytes between the two until one side closes. It knows
//! neither the database nor the storage and needs no privilege: everything that faces the network
//! is here, and nothing that could hurt.
//!
//! ```text
//! client ==TLS==> listen > tls > serve > connect > relay ==unix==> nxagent
//!                                  |        |
//!                                 ask     attach
//!                                  |        |
//!                                 api      hkd
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `listen` | accepts, within limits; ends everything on a stop |
//! | `seats` | how many connections one address and one login may keep, and who gives way |
//! | `tls`, `certificate` | the TLS side; reads a new certificate without a restart |
//! | `visitor` | one client: its requests in, its answers out |
//! | `serve` | which request gets which answer |
//! | `waiting`, `pace` | what a client hears while it waits, and when |
//! | `ask` | the conversation with the api ([`wire::broker`]) |
//! | `attach` | the conversation with hkd ([`wire::attach`]) |
//! | `connect` | from `connect_to_vm` to the relay |
//! | `presence` | tells the api who is attached, and hears when to end |
//! | `desktop` | a desktop's socket, which may send bytes and nothing else |
//! | `relay` | carries bytes |
//!
//! A relay needs neither api nor hkd. The end of the l7r ends its connections, never a session:
//! clients of ours resume by themselves.

mod ask;
mod attach;
mod certificate;
mod connect;
mod desktop;
mod limits;
mod listen;
mod pace;
mod presence;
mod relay;
mod seats;
mod serve;
mod tls;
mod visitor;
mod waiting;

use std::{net::TcpListener, path::PathBuf, time::SystemTime};

use tokio_util::sync::CancellationToken;

pub use crate::{certificate::CertificateError, limits::Limits};

/// What the l7r needs.
#[derive(Debug)]
pub struct Config {
    /// Bound already, as only a parent may be allowed to.
    pub listener: TcpListener,
    /// Where the api answers [`wire::broker`].
    pub api_socket: PathBuf,
    /// Where hkd answers [`wire::attach`].
    pub hkd_socket: PathBuf,
    /// Where `cert.pem` and `key.pem` are looked for, and where a certificate of our own is kept.
    pub ssl_dir: PathBuf,
    /// What time it is, for the validity of a certificate made now.
    pub now: SystemTime,
    /// Times and numbers.
    pub limits: Limits,
}

/// Why the l7r cannot work.
#[derive(Debug, thiserror::Error)]
pub enum L7rError {
    /// The socket handed in is of no use.
    #[error("cannot listen for clients")]
    Listener(#[source] std::io::Error),
    /// There is no certificate, and none can be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// Serves clients until `shutdown` is cancelled. Then it accepts no more, ends all connections and
/// returns.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), L7rError> {
    let folder = certificate::Folder::open(&config.ssl_dir)?;
    let address = config.listener.local_addr().map_err(L7rError::Listener)?;
    let tls = tls::Tls::start(folder, address.ip(), config.now)?;
    listen::listen(config, tls, shutdown).await.map_err(L7rError::Listener)
}
