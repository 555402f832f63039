//! Those who do not say who they are, handshakes, and certificates.

use std::{collections::VecDeque, fs, net::Ipv4Addr, time::Duration};

use l7r::Limits;
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wire::broker::{Answer, Request};

use crate::{
    client::{Client, Ending},
    stage::{Stage, quick, recorded, soon},
};

#[tokio::test]
async fn slow_ones_are_let_go() {
    let short = Duration::from_millis(150);
    let stage = Stage::with(Limits { handshake: short, head: short, ..quick() });
    let mut mute = TcpStream::connect(stage.address).await.unwrap();
    assert_eq!(soon("the end", mute.read(&mut [0; 8])).await.unwrap_or(0), 0);
    let mut silent = Client::new(stage.address).await;
    assert_eq!(silent.ending().await, Ending::Clean);
    // One that drips is as slow as one that stops.
    let mut dripping = Client::new(stage.address).await;
    let drip = async {
        for byte in recorded("perl-list.http") {
            if dripping.stream.write_all(&[byte]).await.is_err()
                || dripping.stream.flush().await.is_err()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        dripping.ending().await
    };
    soon("the end of a dripping client", drip).await;
}

#[tokio::test]
async fn one_address_may_keep_so_many_strangers() {
    let stage = Stage::with(Limits { strangers_per_address: 2, ..quick() });
    let mut known = Client::new(stage.address).await;
    known.send(&recorded("perl-list.http")).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&Answer::Vms { vms: Vec::new() }).await;
    known.answer().await;

    let first = Client::new(stage.address).await;
    let _second = Client::new(stage.address).await;
    let alpn = [&b"http/1.1"[..]];
    assert!(Client::with(stage.address, rustls::ALL_VERSIONS, &alpn).await.is_err());
    drop(first);
    let again = async {
        while Client::with(stage.address, rustls::ALL_VERSIONS, &alpn).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("a free seat", again).await;
}

/// Lists, and is answered.
async fn lists(stage: &Stage, client: &mut Client) {
    client.send(&recorded("perl-list.http")).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&Answer::Vms { vms: Vec::new() }).await;
    client.answer().await;
}

#[tokio::test]
async fn a_login_beyond_its_share_counts_as_a_stranger() {
    let limits = Limits { strangers_per_address: 1, connections_per_login: 2, ..quick() };
    let stage = Stage::with(limits);
    let mut known = Vec::new();
    for _ in 0..3 {
        let mut client = Client::new(stage.address).await;
        lists(&stage, &mut client).await;
        known.push(client);
    }
    let alpn = [&b"http/1.1"[..]];
    assert!(Client::with(stage.address, rustls::ALL_VERSIONS, &alpn).await.is_err());
    // One of them leaves: the next list of the third takes its seat.
    drop(known.remove(0));
    let again = async {
        lists(&stage, &mut known[1]).await;
        while Client::with(stage.address, rustls::ALL_VERSIONS, &alpn).await.is_err() {
            lists(&stage, &mut known[1]).await;
        }
    };
    soon("a free seat", again).await;
}

/// Strangers have half of the room. Where they have taken it, one of them gives way to who comes: of
/// the address that has most, the one that has been there longest. Who has said who they are stay.
#[tokio::test]
async fn whoever_has_most_gives_way_to_who_comes() {
    let stage = Stage::with(Limits { connections: 8, ..quick() });
    let [crowd, good] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(Ipv4Addr::from);
    let mut known = Client::at(crowd, stage.address).await.unwrap();
    lists(&stage, &mut known).await;
    let mut others = VecDeque::new();
    for _ in 0..4 {
        others.push_back(Client::at(crowd, stage.address).await.unwrap());
    }
    // A place for each who comes, though all were taken.
    for _ in 0..3 {
        let mut client = Client::at(good, stage.address).await.unwrap();
        assert_eq!(others.pop_front().unwrap().ending().await, Ending::Cut);
        lists(&stage, &mut client).await;
        others.push_back(Client::at(crowd, stage.address).await.unwrap());
        drop(client);
    }
    // Even one that says nothing outlasts a crowd that has more than it.
    let mut quiet = Client::at(good, stage.address).await.unwrap();
    for _ in 0..20 {
        others.push_back(Client::at(crowd, stage.address).await.unwrap());
    }
    lists(&stage, &mut quiet).await;
    lists(&stage, &mut known).await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_and_http_2_is_not() {
    let stage = Stage::new();
    for version in [&TLS12, &TLS13] {
        for alpn in [&[][..], &[&b"http/1.1"[..]], &[&b"h2"[..], b"http/1.1"]] {
            let mut client = Client::with(stage.address, &[version], alpn).await.unwrap();
            client.send(b"GET / HTTP/1.1\n\n").await;
            assert!(client.answer().await.0.starts_with("HTTP/1.1 404 "));
        }
        assert!(Client::with(stage.address, &[version], &[b"h2"]).await.is_err());
    }
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let stage = Stage::new();
    let own = Client::new(stage.address).await.certificate();
    let ssl = stage.ssl();
    let shown = async |expected: &[u8]| {
        let wait = async {
            while Client::new(stage.address).await.certificate().as_ref() != expected {
                tokio::task::yield_now().await;
            }
        };
        soon("a certificate", wait).await;
    };
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key.serialize_pem())
    };
    let (first, key) = made("one.example");
    fs::write(ssl.join("cert.pem"), first.pem()).unwrap();
    fs::write(ssl.join("key.pem"), key).unwrap();
    shown(first.der()).await;
    assert_ne!(own.as_ref(), first.der().as_ref());

    // A key that is not the certificate's: the first stays in use, until the pair is whole again.
    let (second, key) = made("two.example");
    fs::write(ssl.join("cert.pem"), second.pem()).unwrap();
    for _ in 0..30 {
        shown(first.der()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fs::write(ssl.join("key.pem"), key).unwrap();
    shown(second.der()).await;
}
