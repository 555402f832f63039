//! The world around an l7r: an api and an hkd whose words the test speaks, over the real formats on
//! real unix sockets.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use l7r::{Config, L7rError, Limits};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use wire::{
    attach::{FromHkd, FromRouter},
    broker::{Answer, Request},
    descriptor,
    frame::{Decoder, encode},
    session::Parameters,
};

/// A name for a connection, of the form the api gives.
pub(crate) const NAME: &str = "0123456789abcdefABCDEFghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ99";

/// What a test waits for happens well within this.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), work).await.unwrap_or_else(|_| panic!("waited for {what}"))
}

/// A running l7r and its surroundings.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
    api: Option<UnixListener>,
    hkd: Option<UnixListener>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) l7r: JoinHandle<Result<(), L7rError>>,
}

/// One conversation, seen from the service's side.
pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    decoder: Decoder,
}

/// Times short enough for tests.
pub(crate) fn quick() -> Limits {
    Limits {
        progress_least: Duration::from_millis(50),
        progress_most: Duration::from_millis(100),
        reconnect: Duration::from_millis(20),
        reload: Duration::from_millis(20),
        ..Limits::default()
    }
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (api_socket, hkd_socket) = (folder.path().join("api"), folder.path().join("hkd"));
        let api = Some(UnixListener::bind(&api_socket).unwrap());
        let hkd = Some(UnixListener::bind(&hkd_socket).unwrap());
        let shutdown = CancellationToken::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let ssl_dir = folder.path().join("ssl");
        let config = Config { listener, api_socket, hkd_socket, ssl_dir, now, limits };
        let l7r = tokio::spawn(l7r::run(config, shutdown.clone()));
        Self { address, folder, api, hkd, shutdown, l7r }
    }

    pub(crate) fn ssl(&self) -> PathBuf {
        self.folder.path().join("ssl")
    }

    /// The next conversation with the api.
    pub(crate) async fn api(&self) -> Peer {
        Peer::accept(self.api.as_ref().unwrap()).await
    }

    /// The next conversation with hkd.
    pub(crate) async fn hkd(&self) -> Peer {
        Peer::accept(self.hkd.as_ref().unwrap()).await
    }

    /// The api goes away.
    pub(crate) fn api_stops(&mut self) {
        self.api = None;
        std::fs::remove_file(self.folder.path().join("api")).unwrap();
    }

    /// And comes back.
    pub(crate) fn api_starts(&mut self) {
        self.api = Some(UnixListener::bind(self.folder.path().join("api")).unwrap());
    }

    /// hkd goes away.
    pub(crate) fn hkd_stops(&self) {
        std::fs::remove_file(self.folder.path().join("hkd")).unwrap();
    }

    /// The two services, to be played by somebody else.
    pub(crate) fn services(&mut self) -> (UnixListener, UnixListener) {
        (self.api.take().unwrap(), self.hkd.take().unwrap())
    }

    /// Api and hkd say yes to a client that wants to connect; the desktop listens.
    pub(crate) async fn grant(&self) -> (Peer, Peer) {
        let mut api = self.api().await;
        let Request::Connect { parameters, .. } = api.hear().await else { panic!("no connect") };
        api.say(&attach(parameters)).await;
        let mut hkd = self.hkd().await;
        let FromRouter::Attach { vm: 7, run: 3, connection, .. } = hkd.hear().await else {
            panic!("no attach")
        };
        assert_eq!(connection, NAME);
        hkd.say(&FromHkd::Listening).await;
        (api, hkd)
    }
}

/// The api's yes.
pub(crate) fn attach(parameters: Parameters) -> Answer {
    Answer::Attach { vm: 7, run: 3, connection: NAME.to_owned(), parameters }
}

impl Peer {
    async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = soon("a conversation", listener.accept()).await.unwrap();
        Self::new(stream)
    }

    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The next message, or nothing when the l7r closed.
    pub(crate) async fn try_hear<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            let mut bytes = [0; 1024];
            match soon("a message", self.stream.read(&mut bytes)).await.unwrap() {
                0 => return None,
                read => self.decoder.push(&bytes[..read]),
            }
        }
    }

    /// Hears until the l7r closes, however long that takes.
    pub(crate) async fn patiently(&mut self) {
        let mut bytes = [0; 1024];
        while let Ok(1..) = self.stream.read(&mut bytes).await {}
    }

    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> T {
        self.try_hear().await.expect("the l7r closed a conversation")
    }

    pub(crate) async fn say<T: Serialize>(&mut self, message: &T) {
        self.stream.write_all(&encode(message)).await.unwrap();
    }

    /// The l7r asks to open; it is handed this.
    pub(crate) async fn hand_over(mut self, what: BorrowedFd<'_>) {
        assert_eq!(self.hear::<FromRouter>().await, FromRouter::Open);
        descriptor::send(self.stream.as_fd(), &encode(&FromHkd::Opened), what).unwrap();
        assert!(self.try_hear::<FromRouter>().await.is_none(), "a relay needs no hkd");
    }

    /// The l7r asks to open; the desktop's end of the socket it gets.
    pub(crate) async fn open(self) -> UnixStream {
        let (desktop, other) = UnixStream::pair().unwrap();
        self.hand_over(other.as_fd()).await;
        desktop
    }
}

/// Recorded requests.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/corpus/head");
    std::fs::read(folder.join(name)).unwrap()
}
