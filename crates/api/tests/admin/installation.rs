//! An installation in a temporary folder.

use std::{
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use model::{
    HostId, Timestamp, VmId,
    host::HostStatus,
    settings::Settings,
    vm::{Observed, Seen},
};
use store::Store;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A running api and its database.
pub(crate) struct Installation {
    folder: TempDir,
    pub(crate) store: Store,
    settings: Settings,
    shutdown: CancellationToken,
    api: JoinHandle<Result<(), api::Error>>,
}

/// What a `qa` said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Said {
    /// The standard output of one that succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The standard error of one that failed with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        self.err
    }
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Other users must reach the socket to be refused there.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let url = format!("sqlite:{}", at("db/qvd.db").display());
        let store = Store::migrate(&url).await.unwrap();
        let mut settings = Settings::default();
        let path = |name: &str| at(name).display().to_string();
        settings.layer([
            ("nodename".to_owned(), "node1".to_owned()),
            ("path.storage.root".to_owned(), path("storage")),
            ("path.storage.allowed".to_owned(), path("")),
            ("path.ssl".to_owned(), path("ssl")),
        ]);
        let (shutdown, api) = begin(folder.path(), settings.clone());
        Self { folder, store, settings, shutdown, api }
    }

    /// Ends the api and begins another.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.cancel();
        (&mut self.api).await.unwrap().unwrap();
        for socket in ["admin.sock", "internal.sock"] {
            std::fs::remove_file(self.path(socket)).unwrap();
        }
        (self.shutdown, self.api) = begin(self.folder.path(), self.settings.clone());
        // It answers when it is ready.
        self.qa("di list").await.ok();
    }

    /// One with an OSF `desk` that has an image, a user `ada`, her VM `ada-desk` and a live host.
    pub(crate) async fn with_a_vm() -> Self {
        let it = Self::new().await;
        it.host_lives().await;
        it.qa("osf add name=desk").await.ok();
        let image = it.file("small.tar.zst", &crate::images::packed());
        it.qa(&format!("di add path={} osf=desk version=v1", image.display())).await.ok();
        it.qa_with("user add login=ada --password-stdin", "secret\n").await.ok();
        it.qa("vm add name=ada-desk user=ada osf=desk").await.ok();
        it
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The names of the files in a folder, sorted.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `qa` with these words.
    pub(crate) async fn qa(&self, line: &str) -> Said {
        self.qa_with(line, "").await
    }

    /// The same with something on the standard input.
    pub(crate) async fn qa_with(&self, line: &str, input: &str) -> Said {
        qa(&self.path("admin.sock"), line, input, None).await
    }

    /// What a live host says of itself.
    pub(crate) async fn host_lives(&self) {
        let host = match self.store.host_by_name("node1").await.unwrap() {
            Some(host) => host,
            None => self.store.add_host("node1", "192.0.2.1").await.unwrap(),
        };
        let status = HostStatus {
            host: host.id,
            renewed_at: now(),
            state: "running".to_owned(),
            usable_cpu: 4.0,
            usable_ram: 8000.0,
            version: "0.1.0".to_owned(),
            problems: vec!["the clock is not synchronised".to_owned()],
        };
        self.store.put_host_status(&status).await.unwrap();
    }

    /// What the host sees of the first VM, of the run that is wanted.
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

    /// Waits until something is wanted of the first VM that fits.
    pub(crate) async fn wanted(&self, fits: impl Fn(&model::vm::Desired) -> bool) {
        let mut wake = self.store.wake();
        while !fits(&self.store.desired(VmId(1)).await.unwrap().unwrap()) {
            soon(&mut wake).await;
        }
    }

    /// Ends the api and checks that it ends well.
    pub(crate) async fn end(self) {
        self.end_leaving(|_| ()).await;
    }

    /// The same, with a look at what is left.
    pub(crate) async fn end_leaving(mut self, look: impl FnOnce(&Self)) {
        self.shutdown.cancel();
        let end = tokio::time::timeout(Duration::from_secs(10), &mut self.api).await;
        end.expect("the api never ends").unwrap().unwrap();
        look(&self);
    }
}

fn begin(
    folder: &Path,
    settings: Settings,
) -> (CancellationToken, JoinHandle<Result<(), api::Error>>) {
    let at = |name: &str| folder.join(name);
    let config = api::Config {
        store_url: format!("sqlite:{}", at("db/qvd.db").display()),
        settings,
        admin: UnixListener::bind(at("admin.sock")).unwrap(),
        internal: UnixListener::bind(at("internal.sock")).unwrap(),
    };
    let shutdown = CancellationToken::new();
    (shutdown.clone(), tokio::spawn(api::run(config, shutdown)))
}

/// Runs the real `qa`, perhaps as another user.
pub(crate) async fn qa(socket: &Path, line: &str, input: &str, uid: Option<u32>) -> Said {
    let mut command = Command::new(program().await);
    command
        .args(line.split(' '))
        .env("QVD_API_SOCKET", socket)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(uid) = uid {
        command.uid(uid);
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that never reads its input closes it, which is no failure of the test.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// The real `qa`, which cargo puts beside the tests. It is built here where nobody has since its
/// sources changed: a crate's tests build that crate's programs only.
pub(crate) async fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().unwrap().parent().unwrap().join("qa");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = ["qa/Cargo.toml", "qa/src", "wire/src"].map(|path| crates.join(path));
    let built = std::fs::metadata(&program).and_then(|about| about.modified()).ok();
    if built.is_none_or(|built| sources.iter().any(|path| newest(path) > built)) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "qa"]).current_dir(crates);
        assert!(cargo.status().await.unwrap().success(), "qa cannot be built");
    }
    program
}

/// When anything in a file or folder was last changed.
fn newest(path: &Path) -> std::time::SystemTime {
    let own = std::fs::metadata(path).unwrap().modified().unwrap();
    let Ok(entries) = std::fs::read_dir(path) else { return own };
    entries.map(|entry| newest(&entry.unwrap().path())).fold(own, std::time::SystemTime::max)
}

/// Returns when something may have changed. A wake-up is a hint that can come a moment before the
/// change can be seen, so it looks again soon in any case.
async fn soon(wake: &mut store::Wake) {
    let _ = tokio::time::timeout(Duration::from_millis(100), wake.changed()).await;
}

pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
