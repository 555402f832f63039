//! From `connect_to_vm` to the first bytes of the desktop.

use std::time::Duration;

use l7r::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use wire::{
    attach::{FromHkd, FromRouter},
    broker::{Answer, Order, Report, Request},
    session::Parameters,
};

use crate::{
    client::{Client, Ending},
    requests::final_answer,
    stage::{NAME, Stage, attach, quick, recorded, soon},
};

/// The recorded connect of a client that waits for its `101`, as it should.
pub(crate) fn patient() -> Vec<u8> {
    let mut bytes = recorded("libc-connect.http");
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
    bytes.truncate(end);
    bytes
}

fn switched() -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\nX-QVD-Slave-Key: {NAME}\r\n\r\n")
}

fn info(text: &str) -> String {
    format!("HTTP/1.1 102 Processing\r\nX-QVD-VM-Info: {text}\r\n\r\n")
}

/// Reads `102`s until the `101`, which must be a record of its own.
pub(crate) async fn until_switched(client: &mut Client) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let record = client.record().await;
        if record == switched() {
            return told;
        }
        assert!(record.starts_with("HTTP/1.1 102 Processing\r\n"), "{record}");
        told.push(record);
    }
}

#[tokio::test]
async fn a_client_is_led_to_its_desktop() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    let Request::Connect { vm: 7, parameters, resume: None, .. } = api.hear().await else {
        panic!("no connect")
    };
    api.say(&Answer::Progress { text: "Starting virtual machine".to_owned() }).await;
    assert_eq!(client.record().await, info("Starting virtual machine"));
    api.say(&attach(parameters.clone())).await;
    assert_eq!(client.record().await, info("Connecting to the session"));
    let mut hkd = stage.hkd().await;
    let connection = NAME.to_owned();
    let wish = FromRouter::Attach { vm: 7, run: 3, connection, parameters };
    assert_eq!(hkd.hear::<FromRouter>().await, wish);
    hkd.say(&FromHkd::Progress { text: "Resuming".to_owned() }).await;
    assert_eq!(client.record().await, info("Resuming"));
    hkd.say(&FromHkd::Listening).await;
    until_switched(&mut client).await;

    client.send(b"NXPROXY-3.5.0-3.5.99 ").await;
    assert_eq!(api.hear::<Report>().await, Report::Established);
    let mut desktop = hkd.open().await;
    let mut bytes = [0; 21];
    soon("first bytes", desktop.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"NXPROXY-3.5.0-3.5.99 ");
    desktop.write_all(b"hello").await.unwrap();
    assert_eq!(client.record().await, "hello");
    drop(desktop);
    assert_eq!(client.ending().await, Ending::Clean);
    assert_eq!(api.hear::<Report>().await, Report::Ended);
    assert!(api.try_hear::<Report>().await.is_none());
}

#[tokio::test]
async fn bytes_sent_too_early_are_not_lost() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-connect.http")).await;
    let (_api, hkd) = stage.grant().await;
    let mut desktop = hkd.open().await;
    let mut bytes = [0; 49];
    soon("first bytes", desktop.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"NXPROXY-3.5.0-3.5.99 stream=default,data=default ");
    until_switched(&mut client).await;
}

#[tokio::test]
async fn a_blank_line_behind_the_head_is_not_the_first_of_the_stream() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("perl-connect.http")).await;
    let (_api, mut hkd) = stage.grant().await;
    until_switched(&mut client).await;
    client.send(b"\r\n").await;
    let opens = timeout(Duration::from_millis(200), hkd.try_hear::<FromRouter>()).await;
    assert!(opens.is_err(), "{opens:?}");
    client.send(b"NXPROXY-3.5.0-3.5.99 ").await;
    let mut desktop = hkd.open().await;
    let mut bytes = [0; 21];
    soon("first bytes", desktop.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"NXPROXY-3.5.0-3.5.99 ");
}

#[tokio::test]
async fn a_session_taken_before_it_is_opened_is_opened_when_it_listens_again() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-connect.http")).await;
    let (_api, mut hkd) = stage.grant().await;
    until_switched(&mut client).await;
    assert_eq!(hkd.hear::<FromRouter>().await, FromRouter::Open);
    hkd.say(&FromHkd::Progress { text: "Resuming".to_owned() }).await;
    hkd.say(&FromHkd::Listening).await;
    let mut desktop = hkd.open().await;
    desktop.write_all(b"hello").await.unwrap();
    assert_eq!(client.record().await, "hello");
}

#[tokio::test]
async fn a_resume_names_the_connection_lost() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    let request = String::from_utf8(patient()).unwrap().replace("?id=7", "?id=7&resume=abc123");
    client.send(request.as_bytes()).await;
    let mut api = stage.api().await;
    let Request::Connect { resume, .. } = api.hear().await else { panic!("no connect") };
    assert_eq!(resume.as_deref(), Some("abc123"));
    let text = "Another client has taken the desktop over".to_owned();
    api.say(&Answer::Refused { status: 409, text, retry_after: None }).await;
    let (head, body) = final_answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
    assert_eq!(body, "Another client has taken the desktop over\r\n");
    assert_eq!(client.ending().await, Ending::Clean);
}

#[tokio::test]
async fn a_desktop_not_to_be_had_is_worded_as_the_family_does() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    let text = "no host has room.".to_owned();
    api.say(&Answer::Refused { status: 503, text, retry_after: Some(30) }).await;
    let (head, body) = client.answer().await;
    let phrase = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n";
    assert!(head.starts_with(phrase), "{head}");
    let expected =
        "The requested virtual machine is not available: no host has room, retry later.\r\n";
    assert_eq!(body, expected);
    assert_eq!(client.ending().await, Ending::Clean);
}

#[tokio::test]
async fn when_hkd_fails_client_and_api_are_told() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&attach(Parameters::default())).await;
    let mut hkd = stage.hkd().await;
    hkd.say(&FromHkd::Failed { text: "the agent is silent".to_owned() }).await;
    let (_, body) = final_answer(&mut client).await;
    assert!(body.contains("not available: the agent is silent, retry later."), "{body}");
    let Report::Failed { text } = api.hear().await else { panic!("not failed") };
    assert!(text.contains("the agent is silent"), "{text}");

    stage.hkd_stops();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&attach(Parameters::default())).await;
    let (_, body) = final_answer(&mut client).await;
    assert!(body.contains("runs the desktops does not answer, retry later."), "{body}");
    assert!(matches!(api.hear().await, Report::Failed { .. }));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_first_byte_opens_nothing() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let (mut api, mut hkd) = stage.grant().await;
    until_switched(&mut client).await;
    drop(client);
    assert_eq!(hkd.try_hear::<FromRouter>().await, None);
    // Whether it has its 101, nobody knows.
    assert_eq!(api.hear::<Report>().await, Report::Ended);
}

#[tokio::test]
async fn a_client_that_stays_silent_is_let_go() {
    let stage = Stage::with(Limits { first_bytes: Duration::from_millis(100), ..quick() });
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let (_api, mut hkd) = stage.grant().await;
    until_switched(&mut client).await;
    assert_eq!(hkd.try_hear::<FromRouter>().await, None);
    assert_eq!(client.ending().await, Ending::Cut);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_frees_the_api() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    drop(client);
    assert!(api.try_hear::<Report>().await.is_none());
}

#[tokio::test]
async fn a_silent_wait_is_filled_and_a_flood_of_progress_thinned() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    for _ in 0..3 {
        assert_eq!(client.record().await, info("Looking for your desktop"));
    }
    for number in 0..500 {
        api.say(&Answer::Progress { text: format!("step {number}") }).await;
    }
    let mut told = 0;
    while client.record().await != info("step 499") {
        told += 1;
    }
    assert!(told < 100, "{told} of 500 were passed on");
    assert_eq!(client.record().await, info("step 499"));
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let stage = Stage::with(Limits { conversation: Duration::from_millis(300), ..quick() });
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    let (head, body) = final_answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains("it takes too long, retry later."), "{body}");
}

#[tokio::test]
async fn an_order_to_end_while_the_desktop_is_prepared_is_followed() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&attach(Parameters::default())).await;
    let mut hkd = stage.hkd().await;
    hkd.hear::<FromRouter>().await;
    api.say(&Order::End { text: "another client took over".to_owned() }).await;
    let (_, body) = final_answer(&mut client).await;
    assert!(body.contains("another client took over"), "{body}");
    assert_eq!(hkd.try_hear::<FromRouter>().await, None);
}

/// The api takes a report that is broken off for the end of the connection.
#[tokio::test]
async fn a_report_under_way_is_not_broken_off_by_what_hkd_says() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&patient()).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    api.say(&attach(Parameters::default())).await;
    let mut hkd = stage.hkd().await;
    hkd.hear::<FromRouter>().await;
    drop(api);
    let mut api = stage.api().await;
    assert_eq!(
        api.hear::<Request>().await,
        Request::Resumed { connection: NAME.to_owned(), established: false }
    );
    hkd.say(&FromHkd::Progress { text: "Resuming".to_owned() }).await;
    while client.record().await != info("Resuming") {}
    api.say(&Answer::Done { text: String::new() }).await;
    hkd.say(&FromHkd::Listening).await;
    until_switched(&mut client).await;
    api.say(&Order::End { text: "by an administrator".to_owned() }).await;
    assert_eq!(client.ending().await, Ending::Cut);
}

#[tokio::test]
async fn what_is_no_desktop_is_not_relayed() {
    use std::os::fd::AsFd;
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-connect.http")).await;
    let (_api, hkd) = stage.grant().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    hkd.hand_over(listener.as_fd()).await;
    until_switched(&mut client).await;
    assert_eq!(client.ending().await, Ending::Cut);
}
