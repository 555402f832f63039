//! Bytes between clients and desktops: by the router, and by haproxy and nginx as TLS proxies of the same
//! unix sockets.
//!
//! One process plays the clients, the desktops, and the router's neighbours; what is measured are the
//! processes in between. All speak TLS 1.3 with one cipher and one certificate, in turns.

mod crowd;
mod desktop;
mod neighbours;
mod peer;
mod visitor;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{
    program,
    results::{Results, Series, Unit},
};

use peer::{Kind, Peer};
use visitor::Clients;

/// How many desktops there are.
const DESKTOPS: usize = 10;

/// How much one sample of what is poured has, in MiB.
const POURED: u32 = 512;

/// How many relays are idle while memory is measured, and in the crowd.
const IDLE: usize = 1000;

/// Measures: as many round trips as samples are wanted, a fiftieth as often what is large.
pub(crate) fn measure(samples: usize) -> Result<Vec<Results>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let place = Place::new()?;
        let rounds = samples.div_ceil(50);
        let mut all = place.carried(rounds).await?;
        all.push(place.round_trips(samples).await?);
        all.push(place.idle(rounds.div_ceil(4)).await?);
        all.push(place.crowd().await?);
        Ok(all)
    })
}

/// A folder with a certificate, desktops and the router's neighbours.
struct Place {
    folder: TempDir,
    clients: Clients,
    desktop: PathBuf,
}

/// Samples for each peer.
type Samples = [Vec<u64>; Kind::ALL.len()];

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("qvd-bench-").tempdir()?;
        peer::certificate(folder.path())?;
        let name = |number| folder.path().join(format!("desktop-{number}"));
        let desktops: Vec<PathBuf> = (0..DESKTOPS).map(name).collect();
        for path in &desktops {
            desktop::start(path)?;
        }
        neighbours::start(&folder.path().join("run"), &desktops)?;
        let desktop = name(0);
        Ok(Self { folder, clients: Clients::new()?, desktop })
    }

    async fn start(&self, kind: Kind) -> Result<Peer> {
        Peer::start(kind, self.folder.path(), &self.desktop).await
    }

    async fn start_all(&self) -> Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for kind in Kind::ALL {
            peers.push(self.start(kind).await?);
        }
        Ok(peers)
    }

    /// What is poured through one connection: how long a GiB takes, and how long a core works for it.
    async fn carried(&self, rounds: usize) -> Result<Vec<Results>> {
        let peers = self.start_all().await?;
        let (mut took, mut worked) = (Samples::default(), Samples::default());
        // The first round warms up.
        for round in 0..=rounds {
            for (index, peer) in peers.iter().enumerate() {
                let mut visitor = self.clients.come(peer.kind, peer.port(), index).await?;
                let (began, before) = (Instant::now(), peer.cpu()?);
                visitor.drink(POURED).await?;
                let (time, cpu) = (began.elapsed(), peer.cpu()?.saturating_sub(before));
                if round > 0 {
                    let per_gib = |time: Duration| micros(time) * 1024 / u64::from(POURED);
                    took.get_mut(index).context("a peer")?.push(per_gib(time));
                    worked.get_mut(index).context("a peer")?.push(per_gib(cpu));
                }
            }
        }
        let conditions = format!(
            "{POURED} MiB from a desktop to a client for each sample, one connection at a time, the peers \
             in turns; client and desktop work on the same cores."
        );
        let text = "time of a core for a GiB";
        let cpu =
            results("relay-cpu", "A relay: a core's time for a GiB", &conditions, text, worked)?;
        let text = "a GiB through one connection";
        let time =
            results("relay-throughput", "A relay: the time of a GiB", &conditions, text, took)?;
        Ok(vec![cpu, time])
    }

    async fn round_trips(&self, samples: usize) -> Result<Results> {
        let mut visitors = Vec::new();
        let peers = self.start_all().await?;
        for (index, peer) in peers.iter().enumerate() {
            visitors.push(self.clients.come(peer.kind, peer.port(), index).await?);
        }
        let mut all = Samples::default();
        for _ in 0..samples {
            for (visitor, samples) in visitors.iter_mut().zip(&mut all) {
                let began = Instant::now();
                visitor.echo().await?;
                samples.push(micros(began.elapsed()));
            }
        }
        results(
            "relay-latency",
            "A relay: a round trip of eight bytes",
            "From a client to a desktop and back over a connection that is there, the peers in turns.",
            "there and back",
            all,
        )
    }

    /// The memory of relays that have carried a few bytes and do nothing.
    async fn idle(&self, rounds: usize) -> Result<Results> {
        let mut all = Samples::default();
        for _ in 0..rounds {
            for (kind, samples) in Kind::ALL.into_iter().zip(&mut all) {
                let peer = self.start(kind).await?;
                // What the first ones take is not theirs alone.
                let mut kept = self.attach(&peer, 0..50).await?;
                let before = peer.resident()?;
                kept.extend(self.attach(&peer, 50..50 + IDLE).await?);
                let bytes = peer.resident()?.saturating_sub(before);
                samples.push(bytes / u64::try_from(IDLE)?);
                drop(kept);
            }
        }
        let conditions = format!(
            "What {IDLE} relays to {DESKTOPS} desktops add to a peer's resident memory, each after a round \
             trip, divided by their number; buffers of the kernel are not in it."
        );
        let what = "A relay: memory while it is idle";
        let mut found =
            results("relay-memory", what, &conditions, "resident, for each relay", all)?;
        found.unit = Unit::Bytes;
        Ok(found)
    }

    async fn attach(
        &self,
        peer: &Peer,
        numbers: std::ops::Range<usize>,
    ) -> Result<Vec<visitor::Visitor>> {
        let mut attached = Vec::new();
        for number in numbers {
            let mut visitor = self.clients.come(peer.kind, peer.port(), number).await?;
            visitor.echo().await?;
            attached.push(visitor);
        }
        Ok(attached)
    }

    /// New clients among idle ones and slow ones.
    async fn crowd(&self) -> Result<Results> {
        let mut all = Samples::default();
        for (kind, samples) in Kind::ALL.into_iter().zip(&mut all) {
            let peer = self.start(kind).await?;
            let mut idle = self.attach(&peer, 0..IDLE).await?;
            *samples = crowd::new_ones(&self.clients, &peer).await?;
            for visitor in &mut idle {
                visitor.echo().await.context("an idle relay was lost in the crowd")?;
            }
        }
        let conditions = format!(
            "{IDLE} idle relays to {DESKTOPS} desktops, {} connections that never end their handshake, and \
             {} new clients a second for {} s, none of whom is refused. With qvd a new client also says \
             who it is and which desktop it wants; the proxies know only one.",
            crowd::SLOW,
            crowd::NEW_EACH_SECOND,
            crowd::SECONDS
        );
        let what = "A relay: a new client's way to the first byte, in a crowd";
        results("relay-crowd", what, &conditions, "TCP, TLS, desktop, and back", all)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn results(
    name: &str,
    what: &str,
    conditions: &str,
    text: &str,
    samples: Samples,
) -> Result<Results> {
    let version = |package| program::run("dpkg-query", &["-W", "-f", "${Version}", package]);
    let series = Kind::ALL.into_iter().zip(samples);
    let series = series.map(|(kind, samples)| Series::new(kind.name(), text, samples));
    let versions = [("haproxy", version("haproxy")?), ("nginx", version("nginx")?)];
    Results::here(name, what, conditions, versions, series.collect())
}
