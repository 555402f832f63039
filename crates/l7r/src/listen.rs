//! Accepts clients, within limits, and ends them all on a stop.

use std::{io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Limits,
    connect::connect,
    relay::Pool,
    seats::{Logins, Strangers},
    serve::serve,
    tls::Tls,
    visitor::{Stranger, Visitor},
};

/// How long connections get to notice that they end.
const LAST_CALL: Duration = Duration::from_secs(5);

/// After the kernel had no descriptor or memory for a connection.
const BREATHER: Duration = Duration::from_millis(100);

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) api_socket: PathBuf,
    pub(crate) hkd_socket: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) logins: Logins,
    pub(crate) pool: Pool,
}

/// Accepts until `shutdown`, then ends what is left.
pub(crate) async fn listen(
    config: Config,
    tls: Tls,
    shutdown: CancellationToken,
) -> io::Result<()> {
    config.listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(config.listener)?;
    let acceptor = tls.acceptor();
    let seats = Strangers::new(config.limits.strangers_per_address);
    let connections = config.limits.connections;
    let room = Arc::new(Semaphore::new(connections));
    let strangers = Arc::new(Semaphore::new((connections / 2).max(1)));
    let tasks = TaskTracker::new();
    tasks.spawn({
        let (shutdown, every) = (shutdown.clone(), config.limits.reload);
        async move {
            shutdown.run_until_cancelled(tls.follow(every)).await;
        }
    });
    let shared = Arc::new(Shared {
        api_socket: config.api_socket,
        hkd_socket: config.hkd_socket,
        logins: Logins::new(config.limits.connections_per_login),
        limits: config.limits,
        pool: Pool::default(),
    });
    tracing::info!(address = %listener.local_addr()?, connections, "listening for clients");
    let next = || async {
        loop {
            let (stream, address) = accept(&listener).await;
            // One address beyond its share is dropped without a word: a word costs a handshake.
            if !seats.admits(address) {
                continue;
            }
            let places = (place(&room, &seats).await, place(&strangers, &seats).await);
            if let Some(seat) = seats.take(address) {
                return (places, seat, stream, address);
            }
        }
    };
    while let Some(((place, permit), seat, stream, address)) =
        shutdown.run_until_cancelled(next()).await
    {
        let gives_way = seat.gives_way().clone();
        let stranger = Stranger::new(seat, permit);
        let client = client(stream, address, stranger, acceptor.clone(), Arc::clone(&shared));
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let client = gives_way.run_until_cancelled(client);
            shutdown.run_until_cancelled(client).await;
            drop(place);
        });
    }
    drop(listener);
    tracing::info!(connections = tasks.len(), "no longer listening, ending connections");
    tasks.close();
    // A task that does not notice is dropped with the runtime.
    timeout(LAST_CALL, tasks.wait()).await.ok();
    Ok(())
}

/// A place, once there is one. Where there is none, a stranger gives way; where there is no stranger,
/// everybody here has said who they are, and is waited for.
async fn place(places: &Arc<Semaphore>, seats: &Strangers) -> OwnedSemaphorePermit {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return place;
    }
    seats.make_room();
    Arc::clone(places).acquire_owned().await.expect("nobody closes the semaphore")
}

/// The next client.
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => return (stream, address.ip().to_canonical()),
            Err(error) => {
                if is_shortage(&error) {
                    tracing::warn!(%error, "cannot accept a client now");
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    }
}

/// Whether it is the machine that has no more to give; other errors are of the client that left.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// One client, from its first byte to its last.
async fn client(
    stream: TcpStream,
    address: IpAddr,
    stranger: Stranger,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
) {
    if notice_the_dead(&stream, shared.limits.dead).is_err() {
        return;
    }
    // Each stage is boxed, so that a connection that relays for hours no longer holds what the
    // stages before it needed.
    let handshake = Box::pin(timeout(shared.limits.handshake, acceptor.accept(stream)));
    // Whoever fails here is no client of ours; that is of no interest to anyone.
    let Ok(Ok(stream)) = handshake.await else { return };
    let visitor = Visitor::new(stream, address, stranger, &shared.limits);
    if let Some((visitor, question)) = Box::pin(serve(visitor, &shared)).await {
        Box::pin(connect(visitor, &shared, question)).await;
    }
}

/// Small packets at once, and a peer that vanished is noticed, whether or not there is something to
/// send to it. One that is there and takes nothing is no better: the system would wait for it for ever.
fn notice_the_dead(stream: &TcpStream, dead: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_mins(1))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, u32::try_from(dead.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
