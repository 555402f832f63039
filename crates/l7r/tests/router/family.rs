//! The clients of the family, each with its whole conversation: the bytes they send, in the order and on
//! the connections on which they send them, and what they need of the answers.

use std::time::{Duration, Instant};

use l7r::Limits;
use tokio::io::AsyncReadExt;
use wire::{
    broker::{Answer, Report, Request, VmLine},
    session::Parameters,
};

use crate::{
    client::{Client, Ending},
    connect::patient,
    stage::{NAME, Peer, Stage, attach, recorded, soon},
};

/// Header names as clients look for them: in exactly this case.
const NAMES: [&str; 6] = [
    "Content-Type",
    "Content-Length",
    "WWW-Authenticate",
    "Retry-After",
    "X-QVD-VM-Info",
    "X-QVD-Slave-Key",
];

/// A client that keeps what it got, record by record.
struct Told {
    client: Client,
    records: Vec<String>,
}

impl Told {
    /// As curl does, which offers HTTP/2 first, or as the others, which offer nothing.
    async fn new(stage: &Stage, alpn: &[&[u8]]) -> Self {
        let client = Client::with(stage.address, rustls::ALL_VERSIONS, alpn).await.unwrap();
        Self { client, records: Vec::new() }
    }

    /// Reads up to the next answer that is no `102`: its head and, where there is one, its body.
    async fn answer(&mut self) -> (String, String) {
        loop {
            let head = self.client.record().await;
            self.records.push(head.clone());
            if head.starts_with("HTTP/1.1 102 ") {
                continue;
            }
            let mut body = String::new();
            if !head.starts_with("HTTP/1.1 101 ") {
                body = self.client.record().await;
                self.records.push(body.clone());
            }
            return (head, body);
        }
    }

    /// All that came was as every client of the family can read it.
    fn was_readable(&self) {
        let mut records = self.records.iter();
        while let Some(head) = records.next() {
            let lines = head.strip_suffix("\r\n\r\n").expect("a whole head in one record");
            assert!(head.is_ascii() && !lines.contains("\r\n\r\n"), "{head}");
            let mut lines = lines.split("\r\n");
            let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap();
            assert!(!status.starts_with("100") && !status.starts_with("103"), "{head}");
            let mut length = None;
            for line in lines {
                let (name, value) = line.split_once(": ").unwrap();
                assert!(NAMES.contains(&name), "{head}");
                if name == "Content-Length" {
                    length = Some(value.parse::<usize>().unwrap());
                }
            }
            assert_eq!(length.is_none(), status.starts_with('1'), "{head}");
            if let Some(length) = length {
                let body = records.next().expect("a body in a record of its own");
                assert!(length == body.len() && length > 0, "{head}{body}");
            }
        }
    }
}

/// One with a name that is not ASCII, and one that is offline for maintenance.
fn two() -> Answer {
    let line = |id, name: &str, state: &str, blocked| VmLine {
        id,
        name: name.to_owned(),
        state: state.to_owned(),
        blocked,
    };
    Answer::Vms { vms: vec![line(7, "caf\u{e9}", "running", false), line(8, "b", "stopped", true)] }
}

const TWO: &str = "[{\"id\":7,\"name\":\"caf\\u00e9\",\"state\":\"running\",\"blocked\":0,\
                   \"is_application\":0},{\"id\":8,\"name\":\"b\",\"state\":\"stopped\",\"blocked\":1,\
                   \"is_application\":0}]";

/// The next conversation with the api, which asks this.
async fn asks(stage: &Stage, wanted: impl Fn(&Request) -> bool) -> Peer {
    let mut api = stage.api().await;
    let asked: Request = api.hear().await;
    assert!(wanted(&asked), "{asked:?}");
    api
}

/// Asks for the list and gets it, in ASCII, with `blocked` as a number.
async fn lists(stage: &Stage, told: &mut Told, request: &[u8]) {
    told.client.send(request).await;
    asks(stage, |asked| matches!(asked, Request::List { .. })).await.say(&two()).await;
    let (head, body) = told.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), "{head}");
    assert_eq!(body, TWO);
}

/// Sends the request, is granted the desktop with these options, and carries the first bytes.
async fn connects(stage: &Stage, told: &mut Told, request: &[u8], options: &[&str]) {
    told.client.send(request).await;
    let mut api = stage.api().await;
    let Request::Connect { vm: 7, parameters, resume: None, .. } = api.hear().await else {
        panic!("no connect")
    };
    assert_eq!(parameters.nx_options(), options);
    api.say(&Answer::Progress { text: "Waiting for the \u{e4}gent".to_owned() }).await;
    let waits = told.client.record().await;
    assert!(waits.starts_with("HTTP/1.1 102 Processing\r\n"), "at once: {waits}");
    told.records.push(waits);
    api.say(&attach(parameters)).await;
    let mut hkd = stage.hkd().await;
    hkd.hear::<wire::attach::FromRouter>().await;
    hkd.say(&wire::attach::FromHkd::Listening).await;
    let (head, _) = told.answer().await;
    let key = format!("HTTP/1.1 101 Switching Protocols\r\nX-QVD-Slave-Key: {NAME}\r\n\r\n");
    assert_eq!(head, key, "the switch is a record of its own");
    told.client.send(b"NXPROXY-3.5.0-3.5.99 ").await;
    let mut desktop = hkd.open().await;
    let mut first = [0; 21];
    soon("the first bytes", desktop.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"NXPROXY-3.5.0-3.5.99 ", "nothing of the head, nothing lost");
    drop(desktop);
    assert_eq!(told.client.ending().await, Ending::Clean);
    assert_eq!(api.hear::<Report>().await, Report::Established);
    told.was_readable();
}

/// The C client: the list by curl, which offers HTTP/2, a stop without a number, and the connect with
/// bare line feeds and no `Host` on a second TLS connection.
#[tokio::test]
async fn the_c_client_lists_by_curl_and_connects_on_a_second_connection() {
    let stage = Stage::new();
    let mut curl = Told::new(&stage, &[b"h2", b"http/1.1"]).await;
    assert_eq!(curl.client.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    lists(&stage, &mut curl, &recorded("libc-list.http")).await;
    curl.client.send(&recorded("libc-stop.http")).await;
    let mut api = asks(&stage, |asked| matches!(asked, Request::Stop { vm: None, .. })).await;
    let text = "parameter id is missing".to_owned();
    api.say(&Answer::Refused { status: 422, text, retry_after: None }).await;
    assert_eq!(curl.answer().await.1, "parameter id is missing\r\n");
    curl.was_readable();

    let mut own = Told::new(&stage, &[]).await;
    let options = ["client=linux", "keyboard=pc105/en", "link=adsl", "geometry=800x600"];
    connects(&stage, &mut own, &patient(), &options).await;
    // The first connection was none the worse for it.
    lists(&stage, &mut curl, &recorded("libc-list.http")).await;
    curl.was_readable();
}

/// The Qt client: list, stop with a number, and connect on one connection, all with bare line feeds; blanks
/// and UTF-8 stand raw in the target; `winnt` is Windows.
#[tokio::test]
async fn the_qt_client_does_everything_on_one_connection() {
    let stage = Stage::new();
    let mut told = Told::new(&stage, &[]).await;
    let both = recorded("qt-list-stop.http");
    let end = both.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
    lists(&stage, &mut told, &both[..end]).await;
    told.client.send(&both[end..]).await;
    let mut api = asks(&stage, |asked| matches!(asked, Request::Stop { vm: Some(7), .. })).await;
    api.say(&Answer::Progress { text: "Stopping virtual machine".to_owned() }).await;
    api.say(&Answer::Done { text: "Machine stopped".to_owned() }).await;
    let (head, body) = told.answer().await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "Machine stopped\r\n", "an empty body would never be read");
    // It sends the connect as soon as it has the answer.
    connects(&stage, &mut told, &recorded("qt-connect-spaces.http"), &["client=windows"]).await;
}

/// The Perl client: a bare `?`, empty values, `%2F`, parameters in any order, one line end too many, and
/// everything on one connection.
#[tokio::test]
async fn the_perl_client_sends_empty_values_and_one_line_end_too_many() {
    let stage = Stage::new();
    let mut told = Told::new(&stage, &[]).await;
    lists(&stage, &mut told, &recorded("perl-list.http")).await;
    let options = ["client=linux", "keyboard=pc105/es", "link=adsl", "geometry=1024x768"];
    connects(&stage, &mut told, &recorded("perl-connect.http"), &options).await;
}

/// A list without a desktop has a body; so has every refusal, head and body in a record each, and after
/// one of a connect the connection is closed.
#[tokio::test]
async fn no_answer_has_an_empty_body() {
    let stage = Stage::new();
    let mut told = Told::new(&stage, &[]).await;
    told.client.send(&recorded("perl-list.http")).await;
    asks(&stage, |_| true).await.say(&Answer::Vms { vms: Vec::new() }).await;
    assert_eq!(told.answer().await.1, "[]");
    for status in [401, 402, 403, 404, 408, 409, 422, 426, 429, 500, 503, 599] {
        for (request, closes) in [(recorded("perl-list.http"), false), (patient(), true)] {
            let mut told = Told::new(&stage, &[]).await;
            told.client.send(&request).await;
            let refused = Answer::Refused { status, text: String::new(), retry_after: Some(1) };
            asks(&stage, |_| true).await.say(&refused).await;
            let (head, _) = told.answer().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            told.was_readable();
            if closes {
                assert_eq!(told.client.ending().await, Ending::Clean);
            }
        }
    }
}

/// A client that waits hears a `102` as soon as there is something to say, then about every 2 s, though
/// nothing happens: none gives up, and none counts too many.
#[tokio::test]
async fn who_waits_hears_a_102_at_once_and_about_every_two_seconds() {
    let stage = Stage::with(Limits::default());
    let mut told = Told::new(&stage, &[]).await;
    told.client.send(&patient()).await;
    let mut api = asks(&stage, |asked| matches!(asked, Request::Connect { .. })).await;
    let mut before = Instant::now();
    api.say(&Answer::Progress { text: "Starting virtual machine".to_owned() }).await;
    for number in 0..4 {
        let record = told.client.record().await;
        let pause = before.elapsed();
        before = Instant::now();
        let text = "HTTP/1.1 102 Processing\r\nX-QVD-VM-Info: Starting virtual machine\r\n\r\n";
        assert_eq!(record, text);
        let expected = if number == 0 { 0..1000 } else { 1000..4000 };
        assert!(expected.contains(&pause.as_millis()), "{number}: {pause:?}");
    }
    api.say(&attach(Parameters::default())).await;
    assert!(Duration::from_secs(1) > before.elapsed());
}
