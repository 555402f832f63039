//! Many at once: idle ones, new ones, and ones that only pretend.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use l7r::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixListener},
    task::JoinSet,
    time::interval,
};
use wire::{
    attach::{FromHkd, FromRouter},
    broker::{Answer, Request},
};

use crate::{
    client::{Client, knock},
    connect::{patient, until_switched},
    stage::{Peer, Stage, attach, quick, recorded, soon},
};

/// How many connections are attached and idle.
const IDLE: usize = 100;
/// How many say nothing, or a byte now and then.
const SLOW: usize = 200;
/// How many good users come, one every [`EVERY`].
const GOOD: usize = 100;
const EVERY: Duration = Duration::from_millis(20);

/// An api and an hkd that say yes to everybody; desktops say everything back.
fn everybody_is_welcome(api: UnixListener, hkd: UnixListener) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = api.accept().await {
            let mut peer = Peer::new(stream);
            tokio::spawn(async move {
                match peer.hear().await {
                    Request::Connect { parameters, .. } => peer.say(&attach(parameters)).await,
                    _ => return peer.say(&Answer::Vms { vms: Vec::new() }).await,
                }
                // Until the client leaves.
                peer.patiently().await;
            });
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = hkd.accept().await {
            let mut peer = Peer::new(stream);
            tokio::spawn(async move {
                peer.hear::<FromRouter>().await;
                peer.say(&FromHkd::Listening).await;
                let desktop = peer.open().await;
                let (mut from, mut to) = desktop.into_split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
}

/// A client on its desktop, which echoes.
async fn attached(source: Ipv4Addr, address: SocketAddr) -> Client {
    let mut client = Client::at(source, address).await.unwrap();
    client.send(&patient()).await;
    until_switched(&mut client).await;
    echoes(&mut client).await;
    client
}

async fn echoes(client: &mut Client) {
    client.send(b"NXPROXY").await;
    let mut bytes = [0; 7];
    soon("an echo", client.stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"NXPROXY");
}

/// Connects again and again where the router lets go, and drips bytes of a head.
async fn drips(source: Ipv4Addr, address: SocketAddr) {
    loop {
        let Ok(mut stream) = knock(source, address).await else { continue };
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01" {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            if gone(&mut stream).await {
                break;
            }
        }
    }
}

/// Whether the router hangs up within a second.
async fn gone(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_secs(1), stream.read(&mut [0; 1])).await.is_ok()
}

/// A hundred idle relays and two hundred connections that drip, which are as many as there are places for
/// strangers: each of a hundred new users is served, and the idle ones are there still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_users_are_served_in_a_crowd() {
    let limits = Limits {
        connections: 300,
        strangers_per_address: 64,
        // They all have one name here.
        connections_per_login: IDLE + GOOD,
        ..quick()
    };
    let mut stage = Stage::with(limits);
    let address = stage.address;
    let (api, hkd) = stage.services();
    everybody_is_welcome(api, hkd);
    let source = |number: usize| Ipv4Addr::new(127, 1, 0, u8::try_from(number % 100).unwrap());
    let mut idle = Vec::new();
    for number in 0..IDLE {
        idle.push(attached(source(number), address).await);
    }
    let mut slow = JoinSet::new();
    for number in 0..SLOW {
        let machine = u8::try_from(1 + number % 4).unwrap();
        slow.spawn(drips(Ipv4Addr::new(127, 2, 0, machine), address));
    }
    let mut good = JoinSet::new();
    let mut ticks = interval(EVERY);
    for number in 0..GOOD {
        ticks.tick().await;
        good.spawn(async move {
            let mut client = Client::at(source(number), address).await.unwrap();
            client.send(&recorded("perl-list.http")).await;
            assert_eq!(client.answer().await.1, "[]");
            client.send(&patient()).await;
            until_switched(&mut client).await;
            echoes(&mut client).await;
        });
    }
    while let Some(done) = soon("all good users", good.join_next()).await {
        done.unwrap();
    }
    for client in &mut idle {
        echoes(client).await;
    }
    slow.shutdown().await;
}
