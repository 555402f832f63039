//! An installation in a temporary folder, with the router's end of its socket.

use std::{os::unix::net::UnixListener, path::PathBuf, time::Duration};

use model::{
    HostId, TenantId, Timestamp, VmId,
    host::HostStatus,
    network::VmNetwork,
    settings::Settings,
    vm::{Desired, Observed, Seen},
};
use serde::{Serialize, de::DeserializeOwned};
use store::Store;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use wire::{
    broker::{Answer, Request},
    frame::{Decoder, encode},
};

/// Everybody's password.
pub(crate) const SECRET: &str = "correct horse";
/// When a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running api and its database.
pub(crate) struct Installation {
    folder: TempDir,
    pub(crate) store: Store,
    shutdown: CancellationToken,
    api: JoinHandle<Result<(), api::Error>>,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("db/qvd.db").display());
        let store = Store::migrate(&url).await.unwrap();
        let (shutdown, api) = begin(&folder, &url);
        Self { folder, store, shutdown, api }
    }

    /// With a live host, the users `ada` and `bob`, ada's VMs 1 and (blocked) 2, and bob's VM 3.
    pub(crate) async fn with_vms() -> Self {
        let it = Self::new().await;
        let store = &it.store;
        store.add_host("node1", "192.0.2.1").await.unwrap();
        it.host_says("running", 0).await;
        let tenant = TenantId::DEFAULT;
        let osf = store.add_osf(tenant, &store::NewOsf::new("desk", 2048)).await.unwrap();
        let day = (2026, 3, 9);
        let now = now();
        store.add_di(now, tenant, osf.id, None, day, "x.tar", "00", 1, "{}").await.unwrap();
        let hash = login::hash(SECRET.to_owned()).await.unwrap();
        let network = VmNetwork::new([10, 0, 0, 100].into(), "16", None).unwrap();
        for (login, names) in [("ada", &["ada-desk", "ada-other"][..]), ("bob", &["bob-desk"])] {
            let login = login.parse().unwrap();
            let user = store.add_user(now, tenant, &login, Some(&hash), 10_000).await.unwrap();
            for name in names {
                let vm =
                    store.add_vm(now, tenant, name, user.id, osf.id, "default", None, &network);
                vm.await.unwrap();
            }
        }
        let blocked = store::VmEdit { blocked: Some(true), ..store::VmEdit::default() };
        store.edit_vm(VmId(2), &blocked).await.unwrap();
        it
    }

    /// The host says of itself that it is so, this many milliseconds from now.
    pub(crate) async fn host_says(&self, state: &str, millis: i64) {
        let status = HostStatus {
            host: HostId(1),
            renewed_at: now().plus_millis(millis),
            state: state.to_owned(),
            usable_cpu: 1.0,
            usable_ram: 4000.0,
            version: "0.1.0".to_owned(),
            problems: Vec::new(),
        };
        self.store.put_host_status(&status).await.unwrap();
    }

    /// What the host sees of VM 1, of the run that is wanted.
    pub(crate) async fn sees(&self, seen: Seen, change: impl FnOnce(&mut Observed)) {
        let desired = self.store.desired(VmId(1)).await.unwrap().unwrap();
        let mut observed = Observed {
            vm: VmId(1),
            host: HostId(1),
            run: desired.run,
            seen,
            seen_at: now(),
            waiting_for: None,
            reason: None,
            attempts: 0,
            next_try: None,
            ended: None,
        };
        change(&mut observed);
        self.store.put_observed(&observed).await.unwrap();
    }

    /// VM 1 was started and runs.
    pub(crate) async fn runs(&self) {
        let before = self.store.desired(VmId(1)).await.unwrap().unwrap();
        let start = model::want::Start {
            di: model::DiId(1),
            host: HostId(1),
            by: "admin".to_owned(),
            at: now(),
        };
        let desired = model::want::start(&before, start);
        assert!(self.store.set_desired(&desired, before.revision).await.unwrap());
        self.sees(Seen::Running, |_| ()).await;
    }

    /// Waits until what is wanted of VM 1 fits.
    pub(crate) async fn wanted(&self, fits: impl Fn(&Desired) -> bool) {
        let fits = async || fits(&self.store.desired(VmId(1)).await.unwrap().unwrap());
        self.until("it is never wanted", fits).await;
    }

    /// Waits until nobody is attached.
    pub(crate) async fn connection_ends(&self) {
        let ended = async || self.store.connections().await.unwrap().is_empty();
        self.until("the connection never ends", ended).await;
    }

    /// Waits until it is noted that the client of VM 1 has used its name.
    pub(crate) async fn connection_is_established(&self) {
        let newest = async || self.store.newest_connection(VmId(1)).await.unwrap().unwrap();
        let established = async || newest().await.resumes.is_none();
        self.until("the connection is never established", established).await;
    }

    async fn until(&self, otherwise: &str, holds: impl AsyncFn() -> bool) {
        let mut wake = self.store.wake();
        let waiting = async {
            while !holds().await {
                soon(&mut wake).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect(otherwise);
    }

    /// The router asks.
    pub(crate) async fn ask(&self, request: &Request) -> Line {
        self.raw(&encode(request)).await
    }

    /// The same, for requests made on the spot.
    pub(crate) async fn ask_owned(&self, request: Request) -> Line {
        self.ask(&request).await
    }

    /// The router says these bytes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Line {
        let path: PathBuf = self.folder.path().join("internal.sock");
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        Line { stream, decoder: Decoder::default() }
    }

    /// Ends the api and begins another.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.cancel();
        (&mut self.api).await.unwrap().unwrap();
        for socket in ["admin.sock", "internal.sock"] {
            std::fs::remove_file(self.folder.path().join(socket)).unwrap();
        }
        let url = format!("sqlite:{}", self.folder.path().join("db/qvd.db").display());
        (self.shutdown, self.api) = begin(&self.folder, &url);
    }

    /// Ends the api and checks that it ends well.
    pub(crate) async fn end(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.api).await.expect("the api never ends").unwrap().unwrap();
    }
}

fn begin(folder: &TempDir, url: &str) -> (CancellationToken, JoinHandle<Result<(), api::Error>>) {
    let mut settings = Settings::default();
    settings.layer([("nodename".to_owned(), "node1".to_owned())]);
    let bind = |name: &str| UnixListener::bind(folder.path().join(name)).unwrap();
    let config = api::Config {
        store_url: url.to_owned(),
        settings,
        admin: bind("admin.sock"),
        internal: bind("internal.sock"),
    };
    let shutdown = CancellationToken::new();
    (shutdown.clone(), tokio::spawn(api::run(config, shutdown)))
}

/// The router's end of a conversation.
pub(crate) struct Line {
    stream: UnixStream,
    decoder: Decoder,
}

impl Line {
    pub(crate) async fn say<T: Serialize>(&mut self, message: &T) {
        self.stream.write_all(&encode(message)).await.unwrap();
    }

    /// The next message.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self) -> T {
        let hearing = async {
            loop {
                if let Some(message) = self.decoder.next_message().unwrap() {
                    return message;
                }
                let mut buffer = [0; 1024];
                let read = self.stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "the api hung up");
                self.decoder.push(&buffer[..read]);
            }
        };
        timeout(PATIENCE, hearing).await.expect("the api says nothing")
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.hear().await
    }

    /// The next answer that is not progress.
    pub(crate) async fn last_answer(&mut self) -> Answer {
        loop {
            match self.answer().await {
                Answer::Progress { .. } => {}
                other => return other,
            }
        }
    }

    /// The next answer, which is progress.
    pub(crate) async fn progress(&mut self) -> String {
        match self.answer().await {
            Answer::Progress { text } => text,
            other => panic!("{other:?}"),
        }
    }

    /// Progress until it says this.
    pub(crate) async fn progress_until(&mut self, told: &str) {
        while self.progress().await != told {}
    }

    /// Waits until the api hangs up, whatever it says before.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = [0; 1024];
        let reading = async {
            // One that still had something to read is closed the hard way.
            while !matches!(self.stream.read(&mut buffer).await, Ok(0) | Err(_)) {}
        };
        timeout(PATIENCE, reading).await.expect("the api never hangs up");
    }
}

/// Returns when something may have changed. A wake-up is a hint that can come a moment before the
/// change can be seen, so it looks again soon in any case.
async fn soon(wake: &mut store::Wake) {
    let _ = tokio::time::timeout(Duration::from_millis(20), wake.changed()).await;
}

pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
