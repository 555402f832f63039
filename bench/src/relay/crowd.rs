//! New clients among many who only pretend to be some.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    micros,
    peer::Peer,
    visitor::{Clients, knock},
};

/// How many connections never end their handshake.
pub(super) const SLOW: usize = 2000;
/// From how many addresses they come.
const MACHINES: usize = 20;
/// How many new clients come each second, and for how long.
pub(super) const NEW_EACH_SECOND: usize = 100;
pub(super) const SECONDS: usize = 10;

/// How long each new client took to the first byte of its desktop. One that is refused is an error.
pub(super) async fn new_ones(clients: &Clients, peer: &Peer) -> Result<Vec<u64>> {
    let (kind, port) = (peer.kind, peer.port());
    let mut slow = JoinSet::new();
    for number in 0..SLOW {
        let machine = u8::try_from(1 + number % MACHINES)?;
        slow.spawn(drip(Ipv4Addr::new(127, 3, 0, machine), port));
    }
    let mut new = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(NEW_EACH_SECOND)?);
    for number in 0..NEW_EACH_SECOND * SECONDS {
        ticks.tick().await;
        let clients = clients.clone();
        new.spawn(async move {
            let began = Instant::now();
            let mut visitor = clients.come(kind, port, 10_000 + number).await?;
            visitor.echo().await?;
            anyhow::Ok(micros(began.elapsed()))
        });
    }
    let mut took = Vec::new();
    while let Some(one) = new.join_next().await {
        took.push(one?.with_context(|| format!("{} refused a good client", kind.name()))?);
    }
    slow.shutdown().await;
    Ok(took)
}

/// Begins a handshake, a byte a second, and comes again when it is let go.
async fn drip(from: Ipv4Addr, port: u16) {
    loop {
        let Ok(mut stream) = knock(from, port).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".iter().cycle().take(500) {
            let sent = stream.write_all(&[*byte]).await;
            let ended = timeout(Duration::from_secs(1), stream.read(&mut [0; 1])).await;
            if sent.is_err() || ended.is_ok() {
                break;
            }
        }
    }
}
