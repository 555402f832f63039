//! hkd as root and api as an unprivileged user on one SQLite file, started in either order.
//!
//! Each of the two is this test run again as a child, which does what it is told line by line: with
//! the least generous umask, so that nothing depends on it.

use std::{
    env, fs,
    io::{BufRead, BufReader, Lines, Write, stdin},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::Store;

/// Names the child's part; whoever has it is a child.
const ROLE: &str = "STORE_TEST_CHILD";
/// The group that both share, and the unprivileged user: numbers of nobody.
const GROUP: u32 = 64_123;
const USER: u32 = 64_124;

#[test]
fn root_and_another_user_share_a_file() {
    if env::var_os(ROLE).is_some() {
        return obey();
    }
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
    for root_first in [true, false] {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let folder = outer.path().join("db");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(0), Some(GROUP)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o2770)).unwrap();
        let url = format!("sqlite:{}/qvd.db", folder.display());

        let (mut first, mut second) = (Process::start(root_first), Process::start(!root_first));
        // The first makes the database, the second joins.
        first.tell(&format!("migrate {url}"));
        first.tell("write one");
        check_files(&folder);
        second.tell(&format!("open {url}"));
        second.tell("read one");
        second.tell("write two");
        first.tell("read one two");
        // The one who made it leaves and comes back: `-wal` and `-shm` are the other's by now.
        first.tell("close");
        second.tell("write three");
        second.tell("close");
        second.tell(&format!("open {url}"));
        second.tell("write four");
        check_files(&folder);
        first.tell(&format!("open {url}"));
        first.tell("write five");
        second.tell("read one two three four five");
        // It goes without a word; the other writes on.
        drop(second);
        first.tell("write six");
        first.tell("read one two three four five six");
        check_files(&folder);
    }
}

/// All files there are can be written by both.
fn check_files(folder: &Path) {
    let mut names = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        let data = file.metadata().unwrap();
        assert_eq!(data.mode() & 0o7777, 0o660, "{}", file.path().display());
        assert_eq!(data.gid(), GROUP, "{}", file.path().display());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["qvd.db", "qvd.db-shm", "qvd.db-wal"]);
}

/// A child that has a store.
struct Process {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(root: bool) -> Self {
        // This link needs no right to the folders above the program.
        #[expect(clippy::disallowed_methods, reason = "the test itself, as somebody else")]
        let mut command = Command::new("/proc/self/exe");
        command.args([
            "--exact",
            "--nocapture",
            "tests::two_users::root_and_another_user_share_a_file",
        ]);
        command.env(ROLE, "yes").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.current_dir("/");
        if !root {
            command.uid(USER).gid(GROUP);
        }
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, answers }
    }

    /// Gives an order and waits until it is done.
    #[track_caller]
    fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        let answer = self.answers.by_ref().map(Result::unwrap).find(|line| line.starts_with("> "));
        assert_eq!(answer.as_deref(), Some("> done"), "{order}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child's part.
fn obey() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut store = None;
    for line in stdin().lines() {
        let line = line.unwrap();
        let done = runtime.block_on(obey_one(&line, &mut store));
        println!("\n> {}", done.err().unwrap_or_else(|| "done".to_owned()));
    }
}

async fn obey_one(line: &str, store: &mut Option<Store>) -> Result<(), String> {
    let text = |error: crate::Error| format!("{error:?}");
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (verb, store.as_ref()) {
        ("migrate", _) => *store = Some(Store::migrate(rest).await.map_err(text)?),
        ("open", _) => *store = Some(Store::open(rest).await.map_err(text)?),
        ("write", Some(store)) => drop(store.add_host(rest, "192.0.2.1").await.map_err(text)?),
        ("read", Some(store)) => {
            let hosts = store.hosts().await.map_err(text)?;
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            if names.join(" ") != rest {
                return Err(format!("read {names:?}"));
            }
        }
        ("close", Some(open)) => {
            open.close().await;
            *store = None;
        }
        _ => return Err(format!("cannot obey `{line}`")),
    }
    Ok(())
}
