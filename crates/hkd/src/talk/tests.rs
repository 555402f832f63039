//! Agents that root in a VM has replaced.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::net::{UnixDatagram, UnixListener, UnixStream as Stream},
    },
    sync::Arc,
    thread,
};

use proptest::prelude::*;
use rustix::net::sockopt;
use tempfile::TempDir;
use wire::agent::{Guest, GuestUser, Session};

use super::*;

/// Well within what a busy machine needs.
const WITHIN: Duration = Duration::from_secs(20);

/// A replaced agent, which does this with each conversation, in a thread of its own.
struct Replaced {
    folder: TempDir,
}

impl Replaced {
    fn new(act: impl Fn(Stream) + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
        let act = Arc::new(act);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let act = Arc::clone(&act);
                thread::spawn(move || act(stream));
            }
        });
        Self { folder }
    }

    /// One that says these bytes to each question, again and again.
    fn repeats(line: impl Into<Vec<u8>>) -> Self {
        let line = line.into();
        Self::new(move |mut stream| while stream.write_all(&line).is_ok() {})
    }

    async fn talk(&self) -> Talk {
        Talk::connect(&self.folder.path().join("agent")).await.unwrap()
    }

    async fn asked(&self, ask: &Ask) -> Result<Tell, TalkError> {
        self.talk().await.ask(ask, WITHIN).await
    }
}

fn guest() -> Guest {
    let (login, home) = ("ada".to_owned(), "/home/ada".to_owned());
    Guest {
        hostname: "desk".to_owned(),
        machine_id: "0".repeat(32),
        dns: Vec::new(),
        address: ([10, 0, 0, 2].into(), 16),
        gateway: [10, 0, 0, 1].into(),
        lasting: false,
        user: GuestUser { name: login, uid: 10_000, gid: 10_000, home },
    }
}

/// What is no message, or a line without an end, ends the conversation; no more of it is held than one
/// line has.
#[tokio::test]
async fn garbage_and_endless_lines_end_the_conversation() {
    for line in ["hello\n", "{\"tell\":\"opened\",\n", "\0\u{1}\n", "[]\n", "{}\n", "null\n"] {
        let error = Replaced::repeats(line).asked(&Ask::Hello).await.unwrap_err();
        assert!(matches!(error, TalkError::Foreign(Some(_))), "{line}: {error}");
    }
    for endless in ["x".repeat(65_536), "[".repeat(65_536), " ".repeat(65_536)] {
        let replaced = Replaced::repeats(endless);
        let mut talk = replaced.talk().await;
        let error = talk.ask(&Ask::Hello, WITHIN).await.unwrap_err();
        assert!(matches!(error, TalkError::Foreign(Some(FrameError::TooLong))), "{error}");
    }
}

/// An agent may say so many lines for one question; who floods is not listened to.
#[tokio::test]
async fn a_flood_is_cut_off() {
    let flood = frame::encode(&Tell::Progress { text: "starting".to_owned() });
    let replaced = Replaced::repeats(flood);
    let mut talk = replaced.talk().await;
    talk.ask(&Ask::Hello, WITHIN).await.unwrap();
    let mut heard = 1;
    let end = loop {
        match talk.hear(WITHIN).await {
            Ok(_) => heard += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(heard, LINES_MAX);
    assert!(matches!(end, TalkError::Foreign(None)), "{end}");
}

/// One that never answers, and one that never reads, are waited for as long as was said.
#[tokio::test]
async fn a_silent_agent_is_given_up() {
    let kept = std::sync::Mutex::new(Vec::new());
    let replaced = Replaced::new(move |stream| kept.lock().unwrap().push(stream));
    let mut talk = replaced.talk().await;
    let error = talk.ask(&Ask::Hello, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.to_string(), "the agent did not answer within 100ms");
    // At first there is room in the socket, then not even the question is taken.
    let hostname = "x".repeat(60_000);
    let long = Guest { hostname, ..guest() };
    for _ in 0..50 {
        let asked = talk.ask(&Ask::Prepare(long.clone()), Duration::from_millis(5)).await;
        assert!(matches!(asked, Err(TalkError::Slow(_))), "{asked:?}");
    }
}

/// What is shown to people is one short line, whatever was said.
#[tokio::test]
async fn what_people_see_is_one_short_line() {
    let long = format!("no\u{1b}[2J\u{7} \"{}\nsecond", "x".repeat(10_000));
    let shown = format!("no[2J \"{}", "x".repeat(300 - 7));
    let said = [
        frame::encode(&Tell::Progress { text: long.clone() }),
        frame::encode(&Tell::Failed { code: long.clone(), text: long }),
    ];
    let replaced = Replaced::repeats(said.concat());
    let mut talk = replaced.talk().await;
    let first = talk.ask(&Ask::Hello, WITHIN).await.unwrap();
    assert_eq!(first, Tell::Progress { text: shown.clone() });
    let TalkError::Refused { code, text } = talk.hear(WITHIN).await.unwrap_err() else { panic!() };
    assert_eq!((code, text), (shown.clone(), shown));
}

/// A descriptor that was not asked for, or more than one, ends the conversation.
#[tokio::test]
async fn only_the_descriptor_that_was_asked_for_is_taken() {
    let gives = |times: usize| {
        Replaced::new(move |stream| {
            let (one, _other) = UnixDatagram::pair().unwrap();
            let line = frame::encode(&Tell::Opened);
            let (part, rest) = line.split_at(times.min(line.len()) - 1);
            for byte in part {
                // Who has heard enough hangs up.
                let _ = descriptor::send(&stream, &[*byte], one.as_fd());
            }
            let _ = descriptor::send(&stream, rest, one.as_fd());
            let _ = (&stream).read(&mut [0; 64]);
        })
    };
    for (times, ask) in [(1, Ask::Hello), (1, Ask::Follow), (2, Ask::Open), (9, Ask::Open)] {
        let error = gives(times).asked(&ask).await.unwrap_err();
        assert!(matches!(error, TalkError::Foreign(None)), "{times} {ask:?}: {error}");
    }
    let replaced = gives(1);
    let mut talk = replaced.talk().await;
    assert_eq!(talk.ask(&Ask::Open, WITHIN).await.unwrap(), Tell::Opened);
    let descriptor = talk.take_descriptor().unwrap();
    assert!(sockopt::socket_type(&descriptor).is_ok());
    assert!(talk.take_descriptor().is_none());
}

/// A descriptor that takes as long to close as the desktop likes holds up nobody: neither as the answer,
/// nor behind it, nor where nobody takes it.
#[tokio::test]
async fn a_descriptor_that_lingers_holds_nobody_up() {
    use std::net::{TcpListener, TcpStream};
    const LINGER: Duration = Duration::from_secs(20);
    let replaced = Replaced::new(|mut stream| {
        let mut deaf = Vec::new();
        let mut gives = |line: &[u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut trap = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            deaf.push(listener.accept().unwrap());
            sockopt::set_socket_linger(&trap, Some(LINGER)).unwrap();
            trap.set_nonblocking(true).unwrap();
            while trap.write(&[0; 4096]).is_ok() {}
            let _ = descriptor::send(&stream, line, trap.as_fd());
        };
        gives(&frame::encode(&Tell::Opened));
        gives(&frame::encode(&Tell::State { session: Session::None }));
        gives(b"more");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let begun = Instant::now();
    for ask in [Ask::Open, Ask::Hello] {
        let mut talk = replaced.talk().await;
        let _ = talk.ask(&ask, WITHIN).await;
        let _ = talk.hear(WITHIN).await;
        drop(talk);
    }
    let took = begun.elapsed();
    assert!(took < LINGER / 2, "{took:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever bytes an agent says, in whatever pieces, each is a message or the end.
    #[test]
    fn whatever_an_agent_says_is_a_message_or_the_end(
        pieces in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>(),
            Just(frame::encode(&Tell::Listening)),
            Just(b"{\"tell\":\"state\",\"session\":7}\n".to_vec()),
            Just(b"{\"tell\":\"failed\"}\n".to_vec()),
        ], 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let replaced = Replaced::new(move |mut stream| {
                for piece in &pieces {
                    let _ = stream.write_all(piece);
                }
            });
            let mut talk = replaced.talk().await;
            let mut told = talk.ask(&Ask::Hello, WITHIN).await;
            while told.is_ok() {
                told = talk.hear(WITHIN).await;
            }
        });
    }
}
