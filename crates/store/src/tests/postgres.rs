//! A PostgreSQL server of the test's own, and what is true of PostgreSQL alone.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use model::vm::{Power, Seen};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Database, NOW, TENANT, add_user, seen, want, world};
use crate::{Error, Store, grants};

/// A server that listens on a unix socket in a folder of its own, and is gone when this is dropped.
pub(super) struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts one. PostgreSQL refuses to run as root, so it runs as its own user.
    pub(super) fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("qvd-postgres-").tempdir().unwrap();
        let data = folder.path().join("data");
        let command = |program: &str| {
            #[expect(clippy::disallowed_methods, reason = "the one door to the server")]
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "INT"]);
            if rustix::process::geteuid().is_root() {
                command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
            }
            command.arg(programs.join(program)).arg("-D").arg(&data).current_dir(folder.path());
            command.stdin(Stdio::null());
            command
        };
        if rustix::process::geteuid().is_root() {
            let owner = command_output(&["id", "-u", "postgres"]).parse().unwrap();
            std::os::unix::fs::chown(folder.path(), Some(owner), None).unwrap();
        }
        let made = command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .arg("--locale=C")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings = ["fsync=off", "full_page_writes=off", "shared_buffers=32MB"];
        let mut child = command("postgres")
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = log.by_ref().map_while(Result::ok).any(|line| {
            let ready = line.contains("ready to accept connections");
            said.push(line);
            ready
        });
        // Whatever it says later must go somewhere, or it stops.
        thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let server = Self { child, folder };
        assert!(ready, "PostgreSQL does not start: {}", said.join("\n"));
        server
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=postgres", self.folder.path().display())
    }

    /// Runs a statement as the server's administrator.
    pub(super) async fn run(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

/// Where the server's programs are. A test that cannot run fails.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is not installed: install the package `postgresql`")
}

fn command_output(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the one door to the system's own programs")]
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The same database, as somebody else.
fn as_role(url: &str, role: &str) -> String {
    url.replace("user=postgres", &format!("user={role}"))
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: crate::Result<T>) {
    let Err(Error::Database(error)) = result else { panic!("not denied: {result:?}") };
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    assert_eq!(code.as_deref(), Some("42501"), "{error}");
}

pub(super) async fn roles_write_what_is_theirs(database: Database) {
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    let roles = "CREATE ROLE qvd_api LOGIN; CREATE ROLE qvd_hkd LOGIN;";
    for sql in [roles.to_owned(), grants(), grants()] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }
    let api = Store::open(&as_role(&database.url, "qvd_api")).await.unwrap();
    let hkd = Store::open(&as_role(&database.url, "qvd_hkd")).await.unwrap();

    // The api defines; hkd says what it sees, and takes over a VM.
    let world = world(&api).await;
    let (vm, host) = (world.vm.id, world.host.id);
    want(&api, vm, Power::On, host, world.di.id).await;
    hkd.put_observed(&seen(vm, host, Seen::Running)).await.unwrap();
    hkd.put_overlay(vm, host, world.di.id, model::Run(1), "btrfs", 1).await.unwrap();
    assert!(hkd.claim_home("1-home", vm, host, model::Run(1)).await.unwrap());
    assert_eq!(hkd.take_lease(NOW, host).await.unwrap(), 1);
    assert_eq!(hkd.host_work(host).await.unwrap().work.len(), 1);
    want(&hkd, vm, Power::Off, host, world.di.id).await;
    for store in [&api, &hkd] {
        let entry = super::audit::entry("host.add");
        store.audit("one", &entry).await.unwrap();
        assert_eq!(store.verify_audit().await.unwrap(), []);
        assert!(!store.installation().await.unwrap().is_empty());
    }

    // Neither does what is the other's.
    denied(hkd.add_user(NOW, TENANT, &"eve".parse().unwrap(), None, 1).await);
    denied(hkd.password_hash(TENANT, "ada").await);
    denied(hkd.set_password_hash(world.user.id, None).await);
    denied(hkd.ssl_config().await);
    denied(hkd.set_config("l7r.port", "1").await);
    denied(hkd.delete_vm(vm).await);
    denied(api.put_observed(&seen(vm, host, Seen::Nothing)).await);
    denied(api.delete_overlay(vm, host, world.di.id).await);
    denied(api.release_home("1-home", vm, host).await);
    denied(api.take_lease(NOW, host).await);
    for table in ["audit", "installation", "counters", "_sqlx_migrations"] {
        for role in ["qvd_api", "qvd_hkd"] {
            let sql = format!("SET ROLE {role}; DELETE FROM {table}");
            let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await;
            denied(result.map_err(Error::from));
        }
    }

    // What goes with a definition goes, whoever wrote it.
    hkd.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap();
    hkd.delete_overlay(vm, host, world.di.id).await.unwrap();
    api.delete_vm(vm).await.unwrap();
    assert_eq!(hkd.host_work(host).await.unwrap().work, []);
    api.delete_host(host).await.unwrap();
    assert_eq!(hkd.leases().await.unwrap(), []);
}

pub(super) async fn a_lost_listener_comes_back(database: Database) {
    let mut wake = database.store.wake();
    super::wake::heard(&mut wake).await;
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    let ended = sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    assert_eq!(ended.rows_affected(), 1);
    // Once because something may have been missed, and then as before.
    super::wake::heard(&mut wake).await;
    let other = Store::open(&database.url).await.unwrap();
    add_user(&other, "ada").await;
    super::wake::heard(&mut wake).await;
}

/// A server leaves nothing behind, also when the test panics.
#[test]
fn a_server_ends_with_its_test() {
    let (send, receive) = std::sync::mpsc::channel::<(PathBuf, i32)>();
    let test = thread::spawn(move || {
        let server = Server::start();
        let pid = Pid::from_child(&server.child).as_raw_nonzero().get();
        send.send((server.folder.path().to_owned(), pid)).unwrap();
        panic!("as a failing test does");
    });
    let (folder, pid) = receive.recv_timeout(Duration::from_mins(1)).unwrap();
    assert!(test.join().is_err());
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
