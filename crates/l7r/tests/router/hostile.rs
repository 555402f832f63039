//! Peers that want to hold the router up, and what they get.

use std::{
    fs::File,
    io::Write as _,
    net::Ipv4Addr,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use l7r::Limits;
use rustix::net::sockopt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use wire::{
    attach::{FromHkd, FromRouter},
    broker::{Answer, Report, Request},
    descriptor,
    session::Parameters,
};

use crate::{
    client::{Client, Ending, knock},
    connect::{patient, until_switched},
    relay::{attached, fill, works},
    stage::{Stage, attach, quick, recorded, soon},
};

/// Closes as a machine does whose cable is pulled and whose system then answers for it, or in good
/// order.
fn cut(client: Client, reset: bool) {
    let (stream, _) = client.stream.into_inner();
    if reset {
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    }
    drop(stream);
}

/// A peer that is cut off in any state is noticed, whoever works for it is told, and its place is free.
#[tokio::test]
async fn a_peer_is_cut_off_in_every_state() {
    // There is one place: each of these needs that of the one before.
    let stage = Stage::with(Limits { strangers_per_address: 1, ..quick() });
    let comes = async || {
        let coming = async {
            loop {
                let alpn = [&b"http/1.1"[..]];
                match Client::with(stage.address, rustls::ALL_VERSIONS, &alpn).await {
                    Ok(client) => return client,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        soon("the place to be free", coming).await
    };
    for reset in [false, true] {
        // Before, in and after the handshake, and in the head.
        for sent in [&b""[..], &[22, 3, 1, 2], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]] {
            drop(comes().await);
            let mut raw = TcpStream::connect(stage.address).await.unwrap();
            raw.write_all(sent).await.ok();
            if reset {
                sockopt::set_socket_linger(&raw, Some(Duration::ZERO)).unwrap();
            }
        }
        for part in [0, 1, 100, patient().len() - 1] {
            let mut client = comes().await;
            client.send(&patient()[..part]).await;
            cut(client, reset);
        }
        // While the api is asked.
        let mut client = comes().await;
        client.send(&patient()).await;
        let mut api = stage.api().await;
        api.hear::<Request>().await;
        cut(client, reset);
        assert!(api.try_hear::<Report>().await.is_none());
        // While hkd is.
        let mut client = comes().await;
        client.send(&patient()).await;
        let mut api = stage.api().await;
        api.hear::<Request>().await;
        api.say(&attach(Parameters::default())).await;
        let mut hkd = stage.hkd().await;
        hkd.hear::<FromRouter>().await;
        cut(client, reset);
        assert_eq!(hkd.try_hear::<FromRouter>().await, None);
        assert!(matches!(api.hear().await, Report::Failed { .. }));
        // After the 101, before the first bytes.
        let mut client = comes().await;
        client.send(&patient()).await;
        let (mut api, mut hkd) = stage.grant().await;
        until_switched(&mut client).await;
        cut(client, reset);
        assert_eq!(hkd.try_hear::<FromRouter>().await, None);
        assert_eq!(api.hear::<Report>().await, Report::Ended);
        // While the desktop is opened: it is opened, and closed.
        let mut client = comes().await;
        client.send(&recorded("libc-connect.http")).await;
        let (mut api, mut hkd) = stage.grant().await;
        assert_eq!(hkd.hear::<FromRouter>().await, FromRouter::Open);
        cut(client, reset);
        let (mut desktop, other) = UnixStream::pair().unwrap();
        let opened = wire::frame::encode(&FromHkd::Opened);
        descriptor::send(hkd.stream.as_fd(), &opened, other.as_fd()).unwrap();
        drop(other);
        soon("the desktop's end", desktop.read_to_end(&mut Vec::new())).await.ok();
        assert_eq!(api.hear::<Report>().await, Report::Established);
        assert_eq!(api.hear::<Report>().await, Report::Ended);
        // While bytes are carried.
        let (client, mut api, mut desktop) = attached(&stage).await;
        cut(client, reset);
        soon("the desktop's end", desktop.read_to_end(&mut Vec::new())).await.unwrap();
        drop(desktop);
        assert_eq!(api.hear::<Report>().await, Report::Ended);
    }
}

/// Heads without an end, blank lines without an end, and a client that asks and never reads are let go.
#[tokio::test]
async fn endless_heads_and_deaf_clients_are_let_go() {
    let short = Duration::from_millis(300);
    let stage = Stage::with(Limits { head: short, dead: short, ..quick() });
    for endless in [&b"A: b\r\n"[..], b"\r\n", b"x", b"GET /qvd/ping?", b" folded\n"] {
        let mut client = Client::new(stage.address).await;
        client.send(b"GET / HTTP/1.1\r\nB").await;
        let pouring = async {
            let block = endless.repeat(100);
            while client.stream.write_all(&block).await.is_ok()
                && client.stream.flush().await.is_ok()
            {
                tokio::task::yield_now().await;
            }
        };
        soon("the end of an endless head", pouring).await;
    }
    // Thousands of questions whose answers nobody reads: when the network takes no more, it is over.
    let mut deaf = Client::new(stage.address).await;
    let questions = b"GET /none HTTP/1.1\n\n".repeat(500);
    let asking = async { while deaf.stream.write_all(&questions).await.is_ok() {} };
    soon("the end of a deaf client", asking).await;
}

/// A client that takes nothing that its desktop says, though it is there, holds its desktop for as long
/// as was said and no longer.
#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let stage = Stage::with(Limits { dead: Duration::from_millis(700), ..quick() });
    let (client, mut api, mut desktop) = attached(&stage).await;
    let block = vec![7; 65_536];
    let pouring = async { while desktop.write_all(&block).await.is_ok() {} };
    soon("the end of a deaf client's relay", pouring).await;
    assert_eq!(api.hear::<Report>().await, Report::Ended);
    drop(client);
}

/// A desktop that neither takes nor says anything does not hide that its client has left.
#[tokio::test]
async fn a_desktop_that_takes_nothing_does_not_hide_that_its_client_left() {
    for reset in [false, true] {
        let stage = Stage::with(Limits { linger: Duration::from_millis(100), ..quick() });
        let (mut client, mut api, desktop) = attached(&stage).await;
        // More than the desktop's socket takes, and no more than the router's system holds: beyond that
        // the end itself does not arrive, and it is the system that notices.
        let block = vec![7; 65_536];
        for _ in 0..5 {
            client.send(&block).await;
        }
        cut(client, reset);
        assert_eq!(api.hear::<Report>().await, Report::Ended);
        drop(desktop);
    }
}

/// One whose client is there is waited for, and carries on where it was.
#[tokio::test]
async fn a_desktop_that_pauses_loses_nothing() {
    let stage = Stage::with(Limits { linger: Duration::from_millis(50), ..quick() });
    let (mut client, _api, mut desktop) = attached(&stage).await;
    let sent = fill(&mut client.stream).await;
    let mut taken = vec![0; sent];
    let both = async { tokio::join!(desktop.read_exact(&mut taken), client.stream.flush()) };
    let (read, flushed) = soon("what was sent", both).await;
    flushed.unwrap();
    assert_eq!(read.unwrap(), sent);
    assert!(taken.iter().all(|byte| *byte == 7));
    works(&mut client, &mut desktop).await;
}

/// A desktop that sends descriptors with its picture loses its connection, and nobody else waits, even
/// where one takes as long to close as the desktop likes.
#[tokio::test]
async fn a_desktop_that_sends_descriptors_holds_nobody_up() {
    const LINGER: Duration = Duration::from_secs(15);
    let stage = Stage::new();
    let (mut good, _good_api, mut good_desktop) = attached(&stage).await;
    let trap = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut trap = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let deaf = listener.accept().unwrap();
        sockopt::set_socket_linger(&trap, Some(LINGER)).unwrap();
        trap.set_nonblocking(true).unwrap();
        while trap.write(&[0; 4096]).is_ok() {}
        (trap, deaf)
    };
    let begun = Instant::now();
    // One, and more behind it that are never received.
    for times in [1, 3] {
        let (mut bad, mut api, bad_desktop) = attached(&stage).await;
        let mut deaf = Vec::new();
        for _ in 0..times {
            let (trap, other) = trap();
            deaf.push(other);
            descriptor::send(&bad_desktop, b"picture", trap.as_fd()).unwrap();
        }
        bad.ending().await;
        assert_eq!(api.hear::<Report>().await, Report::Ended);
        works(&mut good, &mut good_desktop).await;
    }
    assert!(begun.elapsed() < LINGER / 2, "{:?}", begun.elapsed());
    // What is handed over as a desktop may be such a thing itself.
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-connect.http")).await;
    let (_api, hkd) = stage.grant().await;
    let (trap, _deaf) = trap();
    hkd.hand_over(trap.as_fd()).await;
    drop(trap);
    until_switched(&mut client).await;
    assert_eq!(client.ending().await, Ending::Cut);
    assert!(begun.elapsed() < LINGER / 2, "{:?}", begun.elapsed());
}

/// Whoever fails elsewhere, and whoever says nothing, keeps no good user out, though they take every
/// place there is.
#[tokio::test]
async fn nobody_is_kept_out_by_others() {
    let stage = Stage::with(Limits { connections: 20, strangers_per_address: 8, ..quick() });
    // Ten places for strangers: these four machines want thirty-two.
    let mut crowd = Vec::new();
    for machine in 10..14 {
        for _ in 0..8 {
            let knocking = knock(Ipv4Addr::new(127, 0, 0, machine), stage.address);
            crowd.push(knocking.await.unwrap());
        }
    }
    for _ in 0..20 {
        let good = Ipv4Addr::new(127, 0, 0, 2);
        let mut client = Client::at(good, stage.address).await.unwrap();
        client.send(&recorded("perl-list.http")).await;
        let mut api = stage.api().await;
        api.hear::<Request>().await;
        api.say(&Answer::Vms { vms: Vec::new() }).await;
        assert_eq!(client.answer().await.1, "[]");
        let from = Ipv4Addr::new(127, 0, 0, 10);
        crowd.push(knock(from, stage.address).await.unwrap());
    }
}

/// The descriptors of a process that relays come to what its relays need.
#[tokio::test]
async fn nothing_is_left_of_a_connection() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let stage = Stage::new();
    drop(attached(&stage).await);
    let before = File::open("/dev/null").map(|_| count()).unwrap();
    for _ in 0..20 {
        let (client, mut api, desktop) = attached(&stage).await;
        drop((client, desktop));
        while api.try_hear::<Report>().await.is_some() {}
    }
    let all_closed = async {
        while count() > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let closed = timeout(Duration::from_secs(20), all_closed).await;
    assert!(closed.is_ok(), "{} descriptors, {before} before", count());
}
