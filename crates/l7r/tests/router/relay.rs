//! Bytes carried: many, slow ones, both ways, and what becomes of them when a neighbour goes.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use wire::broker::{Answer, Order, Report, Request};

use crate::{
    client::{Client, Ending},
    connect::until_switched,
    stage::{NAME, Peer, Stage, recorded, soon},
};

/// A client on its desktop, past the greeting.
pub(crate) async fn attached(stage: &Stage) -> (Client, Peer, UnixStream) {
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-connect.http")).await;
    let (mut api, hkd) = stage.grant().await;
    let mut desktop = hkd.open().await;
    until_switched(&mut client).await;
    assert_eq!(api.hear::<Report>().await, Report::Established);
    let mut greeting = [0; 49];
    soon("the greeting", desktop.read_exact(&mut greeting)).await.unwrap();
    (client, api, desktop)
}

/// Both directions work.
pub(crate) async fn works(client: &mut Client, desktop: &mut UnixStream) {
    client.send(b"key").await;
    let mut bytes = [0; 3];
    soon("a key", desktop.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"key");
    desktop.write_all(b"picture").await.unwrap();
    assert_eq!(client.record().await, "picture");
}

const BIG: usize = 64 * 1024 * 1024;

/// Writes so many bytes that no two blocks are alike, and gives their digest.
async fn pour(to: &mut (impl AsyncWrite + Unpin), seed: u64) -> Vec<u8> {
    let mut digest = Sha256::new();
    let mut block = vec![0; 100_000];
    let mut left = BIG;
    let mut state = seed;
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.copy_from_slice(&state.to_le_bytes());
        }
        let piece = &block[..left.min(block.len())];
        to.write_all(piece).await.unwrap();
        digest.update(piece);
        left -= piece.len();
    }
    to.flush().await.unwrap();
    digest.finalize().to_vec()
}

/// Reads them, with a pause for thought now and then, and gives their digest.
async fn drink(from: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut digest = Sha256::new();
    let mut block = vec![0; 30_000];
    let mut left = BIG;
    while left > 0 {
        let most = left.min(block.len());
        let read = from.read(&mut block[..most]).await.unwrap();
        assert_ne!(read, 0, "{left} bytes are missing");
        digest.update(&block[..read]);
        left -= read;
        tokio::task::yield_now().await;
    }
    digest.finalize().to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_in_both_directions_arrives_whole() {
    let stage = Stage::new();
    let (client, _api, desktop) = attached(&stage).await;
    let (mut from_client, mut to_client) = tokio::io::split(client.stream);
    let (mut from_desktop, mut to_desktop) = desktop.into_split();
    let carried = async {
        tokio::join!(
            pour(&mut to_client, 1),
            drink(&mut from_desktop),
            pour(&mut to_desktop, 2),
            drink(&mut from_client),
        )
    };
    let (up, up_read, down, down_read) =
        timeout(Duration::from_mins(2), carried).await.expect("the transfer takes too long");
    assert_eq!(up, up_read);
    assert_eq!(down, down_read);
    assert_ne!(up, down);
}

/// Writes until nothing is taken any more; how much was.
pub(crate) async fn fill(to: &mut (impl AsyncWrite + Unpin)) -> usize {
    let block = vec![7; 65_536];
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), to.write(&block)).await {
        taken += written.unwrap();
        assert!(taken < BIG, "somebody keeps what nobody reads");
    }
    taken
}

#[tokio::test]
async fn a_side_that_does_not_read_stops_the_other() {
    let stage = Stage::new();
    let (mut client, _api, mut desktop) = attached(&stage).await;
    let down = fill(&mut desktop).await;
    // The other direction is none the worse for it.
    client.send(b"key").await;
    let mut bytes = [0; 3];
    soon("a key", desktop.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"key");
    let up = fill(&mut client.stream).await;
    assert!(down > 0 && up > 0);
    drop(client);
    // What was said and not heard may make the end an error; it ends.
    soon("the end", desktop.read_to_end(&mut Vec::new())).await.ok();
}

#[tokio::test]
async fn a_client_that_closes_still_hears_the_last_word() {
    let stage = Stage::new();
    let (mut client, mut api, mut desktop) = attached(&stage).await;
    client.stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end", desktop.read_to_end(&mut rest)).await.unwrap();
    desktop.write_all(b"good bye").await.unwrap();
    drop(desktop);
    assert_eq!(client.record().await, "good bye");
    assert_eq!(api.hear::<Report>().await, Report::Ended);
}

/// A desktop is not trusted: it may stop listening without closing.
#[tokio::test]
async fn a_desktop_that_takes_no_more_does_not_keep_a_client_that_left() {
    let stage = Stage::new();
    let (mut client, mut api, desktop) = attached(&stage).await;
    let desktop = desktop.into_std().unwrap();
    desktop.shutdown(std::net::Shutdown::Read).unwrap();
    desktop.set_nonblocking(true).unwrap();
    let mut desktop = UnixStream::from_std(desktop).unwrap();
    let block = vec![7; 100_000];
    for _ in 0..20 {
        client.send(&block).await;
    }
    // It may still speak.
    desktop.write_all(b"picture").await.unwrap();
    assert_eq!(client.record().await, "picture");
    drop(client);
    assert_eq!(api.hear::<Report>().await, Report::Ended);
}

#[tokio::test]
async fn another_client_that_takes_over_ends_this_one() {
    let stage = Stage::new();
    let (mut client, mut api, mut desktop) = attached(&stage).await;
    api.say(&Order::End { text: "another client took over".to_owned() }).await;
    assert_eq!(client.ending().await, Ending::Cut);
    let mut rest = Vec::new();
    soon("the end", desktop.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(api.hear::<Report>().await, Report::Ended);
}

#[tokio::test]
async fn an_api_that_restarts_is_told_who_is_there() {
    let mut stage = Stage::new();
    let (mut client, api, mut desktop) = attached(&stage).await;
    stage.api_stops();
    drop(api);
    works(&mut client, &mut desktop).await;
    stage.api_starts();
    // It answers nothing at first: it is asked again.
    drop(stage.api().await);
    let mut api = stage.api().await;
    let resumed = Request::Resumed { connection: NAME.to_owned(), established: true };
    assert_eq!(api.hear::<Request>().await, resumed);
    api.say(&Answer::Done { text: String::new() }).await;
    works(&mut client, &mut desktop).await;
    api.say(&Order::End { text: "by an administrator".to_owned() }).await;
    assert_eq!(client.ending().await, Ending::Cut);
}

#[tokio::test]
async fn only_a_conflict_ends_a_connection_that_is_reported_again() {
    let stage = Stage::new();
    let (mut client, api, mut desktop) = attached(&stage).await;
    drop(api);
    for (status, stays) in [(404, true), (503, true), (409, false)] {
        let mut api = stage.api().await;
        api.hear::<Request>().await;
        api.say(&Answer::Refused { status, text: "no".to_owned(), retry_after: None }).await;
        if stays {
            works(&mut client, &mut desktop).await;
        }
    }
    assert_eq!(client.ending().await, Ending::Cut);
}

/// This process's resident memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn an_idle_connection_takes_little_memory() {
    const MANY: u64 = 150;
    let stage = Stage::new();
    // Warm: buffers, session caches, code pages.
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut all = attached(&stage).await;
        works(&mut all.0, &mut all.2).await;
        kept.push(all);
    }
    let before = resident();
    for _ in 0..MANY {
        let mut all = attached(&stage).await;
        works(&mut all.0, &mut all.2).await;
        kept.push(all);
    }
    // The test's own half of each connection is counted too, and fits.
    let each = resident().saturating_sub(before) / MANY;
    println!("{each} bytes for one idle connection, both halves");
    assert!(each <= 64 * 1024, "{each} bytes for one idle connection");
}
