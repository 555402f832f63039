//! An installation on namespaces of its own.

mod container;
mod database;
mod leftovers;
mod reasons;
mod secrets;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use rand::Rng as _;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;

use crate::{
    display::Display,
    machine, postgres,
    program::{Running, command, said, shell, try_shell},
    wait::{is_slow, until},
};

/// Which database a world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server of its own.
    Postgres,
}

/// An installation. The thread that makes it is inside it from then on.
#[derive(Debug)]
pub struct World {
    folder: PathBuf,
    prefix: String,
    password: String,
    daemon: Option<Running>,
    database: Option<Running>,
    /// Events that this test causes, by level and a part of their line: each must be logged, and no
    /// other at WARN or ERROR.
    expected: Vec<(&'static str, &'static str)>,
    log_from: usize,
}

/// What daemons say, unless `QVD_LOG` says otherwise.
const LOG_LEVEL: &str = "info,hkd=debug,sqlx=warn";

/// What daemons say, at WARN or ERROR, of a machine that is slow in everything.
const SLOWNESS: [&str; 3] = ["slow statement", "does not answer", "the volume's speed"];

/// The port of a world's router: its network is its own.
pub const PORT: u16 = 8443;

impl World {
    /// Makes an installation with the test image registered under the OSF `test`, and starts it.
    pub fn start(database: Database) -> Self {
        Self::start_with(database, "test")
    }

    /// The same with another image.
    pub fn start_with(database: Database, image: &str) -> Self {
        let world = Self::start_bare(database);
        world.qa("osf add name=test");
        let image = image_file(image);
        world.qa(&format!("di add path={} osf=test", image.display()));
        world
    }

    /// Makes an installation that has no image yet, and starts it.
    pub fn start_bare(database: Database) -> Self {
        let mut world = Self::make(database);
        world.run_daemons();
        world
    }

    fn make(database: Database) -> Self {
        assert!(rustix::process::geteuid().is_root(), "end-to-end tests run as root");
        let random: u64 = rand::rng().random();
        let id = format!("{:04x}", random & 0xFFFF);
        let folder = PathBuf::from(format!("/tmp/qvd-test-{id}"));
        fs::create_dir(&folder).expect("a folder of this run's own");
        let prefix = format!("t{id}");
        let owner = std::process::id();
        let begun = machine::stat_of(owner).nth(19).expect("it has begun");
        fs::write(folder.join("owner"), format!("{owner} {begun}\n")).expect("owner");
        fs::write(folder.join("prefix"), format!("{prefix}\n")).expect("prefix");
        enter(&folder);
        let (database, url) = match database {
            Database::Sqlite => (None, format!("sqlite:{}/db/qvd.db", folder.display())),
            Database::Postgres => {
                let (server, url) = postgres::start(&folder);
                (Some(server), url)
            }
        };
        let at = folder.display();
        // Linux has simple quotas since 6.7.
        let quota = u8::from(machine::kernel() >= (6, 7));
        let config = format!(
            "nodename = node1\n\
             storage.quota = {quota}\n\
             internal.names.prefix = {prefix}\n\
             vm.network.bridge = {prefix}br\n\
             vm.network.ip.start = 10.99.0.10\n\
             vm.network.netmask = 24\n\
             path.run = {at}/run\n\
             path.ssl = {at}/ssl\n\
             path.vma = {}\n\
             path.storage.allowed = {at}\n\
             path.storage.root = {at}/storage\n\
             database.url = {url}\n\
             l7r.address = 127.0.0.1\n\
             l7r.port = {PORT}\n",
            target().join("x86_64-unknown-linux-musl/agent/qvd-vma").display(),
        );
        fs::write(folder.join("node.conf"), config).expect("node.conf");
        let password = format!("pw-{random:016x}");
        fs::write(folder.join("password"), &password).expect("a password");
        shell(&format!("chmod 600 {at}/password"));
        secrets::note(&folder, &password);
        Self { folder, prefix, password, daemon: None, database, expected: Vec::new(), log_from: 0 }
    }

    /// Starts `qvd all` and waits until it works.
    pub fn run_daemons(&mut self) {
        self.start_daemons(None);
    }

    /// The same under a service manager that is told at this socket.
    pub fn run_daemons_for(&mut self, manager: &Path) {
        self.start_daemons(Some(manager));
    }

    fn start_daemons(&mut self, manager: Option<&Path>) {
        let log =
            fs::File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let from = self.log().len();
        let mut daemon = command(program("qvd"));
        daemon.arg("all").env("QVD_CONFIG", self.folder.join("node.conf"));
        let level = std::env::var("QVD_LOG").unwrap_or_else(|_| LOG_LEVEL.to_owned());
        daemon.env("QVD_LOG", level).stdout(Stdio::null()).stderr(log);
        if let Some(manager) = manager {
            daemon.env("NOTIFY_SOCKET", manager);
        }
        self.daemon = Some(Running(daemon.spawn().expect("qvd starts")));
        until("the daemons", Duration::from_mins(1), || {
            let log = self.log();
            let fresh = log.get(from..).unwrap_or_default().to_owned();
            if fresh.contains("all daemons work") { Ok(()) } else { Err(fresh) }
        });
        // The host is alive once it has said so.
        until("the host", Duration::from_secs(20), || {
            let hosts = self.qa_json("host list");
            if hosts.to_string().contains("running") { Ok(()) } else { Err(hosts) }
        });
    }

    /// Stops the daemons in good order.
    pub fn stop_daemons(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.end();
        }
    }

    /// Ends the daemons and their supervisor at once, as a machine does that runs out of memory.
    pub fn kill_daemons(&mut self) {
        let pids = ["hkd", "api", "l7r"].map(|daemon| self.daemon_pid(daemon));
        // First the one that would start the others again; each other is told of its end.
        if let Some(mut daemon) = self.daemon.take() {
            daemon.0.kill().expect("the supervisor is ours");
            daemon.0.wait().expect("it was ours");
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => panic!("a daemon cannot be ended: {error}"),
            }
        }
    }

    /// The world's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the names of its links and containers begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The storage's folder.
    pub fn storage(&self) -> PathBuf {
        self.folder.join("storage")
    }

    /// Every user's password here.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The test causes an event: a line of the log at this level that contains this part. It must be
    /// there when the log is checked.
    pub fn expect_log(&mut self, level: &'static str, part: &'static str) {
        self.expected.push((level, part));
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What the daemons logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs `qa`, which may fail.
    pub fn try_qa(&self, arguments: &str) -> Result<String, String> {
        said(&format!("qa {arguments}"), self.call_qa(arguments))
    }

    fn call_qa(&self, arguments: &str) -> io::Result<Output> {
        command(program("qa"))
            .args(arguments.split(' '))
            .env("QVD_API_SOCKET", self.folder.join("run/api/admin.sock"))
            .output()
    }

    /// What `qa` remarks beside its result.
    pub fn remarks(&self, arguments: &str) -> String {
        let output = self.call_qa(arguments).expect("qa starts");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs `qa`, which must not fail.
    #[track_caller]
    pub fn qa(&self, arguments: &str) -> String {
        self.try_qa(arguments).unwrap_or_else(|why| panic!("{why}\n{}", self.log()))
    }

    /// What `qa … -o json` prints.
    #[track_caller]
    pub fn qa_json(&self, arguments: &str) -> Value {
        let said = self.qa(&format!("{arguments} -o json"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"))
    }

    /// Adds a user with [`Self::password`].
    pub fn add_user(&self, login: &str) {
        self.qa(&format!(
            "user add login={login} --password-file {}/password",
            self.folder.display()
        ));
        secrets::note(&self.folder, &format!("{login}:{}", self.password));
    }

    /// Adds a VM of the OSF `test`.
    pub fn add_vm(&self, name: &str, user: &str) {
        self.qa(&format!("vm add name={name} user={user} osf=test"));
    }

    /// A VM as `qa vm list` has it.
    #[track_caller]
    pub fn vm(&self, name: &str) -> Value {
        let all = self.qa_json(&format!("vm list -f name={name}"));
        all.get(0).unwrap_or_else(|| panic!("there is no VM {name} in {all}")).clone()
    }

    /// A VM's state.
    pub fn state(&self, name: &str) -> String {
        self.vm(name).get("state").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Waits until a VM has a state.
    #[track_caller]
    pub fn reaches(&self, name: &str, state: &str) {
        until(&format!("{name} to be {state}"), Duration::from_mins(1), || {
            match self.state(name) {
                found if found == state => Ok(()),
                found => Err((found, self.qa(&format!("vm why -f name={name}")))),
            }
        });
    }

    /// A VM's number.
    pub fn id(&self, name: &str) -> i64 {
        self.vm(name).get("id").and_then(Value::as_i64).unwrap_or_default()
    }

    /// A VM's container.
    pub fn container(&self, name: &str) -> String {
        format!("{}-{}", self.prefix, self.id(name))
    }

    /// Runs a shell line as root in a VM.
    pub fn try_inside(&self, vm: &str, line: &str) -> Result<String, String> {
        self.try_in_container(&self.container(vm), line, 120)
    }

    /// Runs a shell line as root in a VM, which must not fail.
    #[track_caller]
    pub fn inside(&self, vm: &str, line: &str) -> String {
        self.try_inside(vm, line).unwrap_or_else(|why| panic!("{why}"))
    }

    /// When a VM's init began, in ticks of this machine's clock: no two of a VM's have that in common.
    #[track_caller]
    pub fn begun(&self, vm: &str) -> String {
        self.try_begun(vm).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same of a VM that may not run.
    pub fn try_begun(&self, vm: &str) -> Result<String, String> {
        self.try_in_container(
            &self.container(vm),
            "sed 's/.*) //' /proc/1/stat | cut -d' ' -f20",
            5,
        )
    }

    /// Runs a shell line as a user in the user's home, whether or not there is a session.
    pub fn try_in_session(&self, vm: &str, user: &str, line: &str) -> Result<String, String> {
        let line = quoted(line);
        self.try_inside(vm, &format!("cd /home/{user} && {} sh -c {line}", become_user(user)))
    }

    /// Runs a shell line in a user's desktop: as its own programs do, with the environment that the
    /// login gave it.
    pub fn try_in_desktop(&self, vm: &str, user: &str, line: &str) -> Result<String, String> {
        let line = quoted(line);
        self.try_inside(
            vm,
            &format!(
                "desktop=$({}) && cd /home/{user} && \
                 {} xargs -0 -a /proc/$desktop/environ sh -c 'exec env -i \"$@\" sh -c \"$0\"' {line}",
                desktop_of(user),
                become_user(user)
            ),
        )
    }

    /// The environment of a user's desktop as the login made it, a variable a line.
    pub fn desktop_environment(&self, vm: &str, user: &str) -> Result<String, String> {
        let (desktop, user) = (desktop_of(user), become_user(user));
        self.try_inside(
            vm,
            &format!("desktop=$({desktop}) && {user} cat /proc/$desktop/environ | tr '\\0' '\\n'"),
        )
    }

    /// Paints a number in a user's session and returns the painter's process id.
    #[track_caller]
    pub fn paint(&self, vm: &str, user: &str, seed: u64) -> String {
        let line = format!("setsid paint {seed} >/tmp/painted 2>&1 </dev/null & echo $!");
        let begun = until("a session to paint in", Duration::from_secs(30), || {
            self.try_in_desktop(vm, user, "xdpyinfo >/dev/null")?;
            self.try_in_desktop(vm, user, &line)
        });
        until("the painter", Duration::from_secs(30), || {
            self.try_inside(vm, "grep -q painted /tmp/painted || { cat /tmp/painted >&2; exit 1; }")
        });
        drop(begun);
        self.inside(vm, "pgrep -f '[b]in/paint'")
    }

    /// Starts a client for a user on a display.
    pub fn client(&self, display: &Display, user: &str, vm: &str) -> Running {
        let log = self.folder.join(format!("client{}.log", display.name()));
        let log = fs::File::create(log).expect("a client's log");
        let copy = log.try_clone().expect("a client's log");
        let client = command(program("qvd-client"))
            .args(["--user", user, "--vm", vm, "--link", "lan", "--fullscreen"])
            .args(["--accept-new-certificate", "--port", &PORT.to_string(), "--password-file"])
            .arg(self.folder.join("password"))
            .arg("127.0.0.1")
            .env("DISPLAY", display.name())
            .env("XAUTHORITY", display.authority())
            .env("HOME", self.folder.join("home"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .stdout(log)
            .stderr(copy)
            .spawn()
            .expect("the client starts");
        Running(client)
    }

    /// What a client on a display said.
    pub fn client_said(&self, display: &Display) -> String {
        fs::read_to_string(self.folder.join(format!("client{}.log", display.name())))
            .unwrap_or_default()
    }

    /// The subvolumes of the volume, by their paths.
    pub fn subvolumes(&self) -> Vec<String> {
        let said = shell(&format!("btrfs subvolume list {}", self.storage().display()));
        let mut paths: Vec<String> = said
            .lines()
            .filter_map(|line| line.split_once(" path ").map(|(_, path)| path.to_owned()))
            .collect();
        paths.sort();
        paths
    }

    /// Process ids of the daemons, by name.
    pub fn daemon_pid(&self, name: &str) -> i32 {
        let file = self.folder.join("node.conf");
        let said = try_shell(&format!("pgrep -f -- '[-]-config {} {name}'", file.display()));
        said.ok().and_then(|said| said.lines().next().and_then(|pid| pid.parse().ok())).unwrap_or(0)
    }

    /// Stops every VM and the daemons, and checks that nothing is left, the log is clean, and no
    /// secret is anywhere.
    #[track_caller]
    pub fn end(mut self) {
        self.no_process_shows_a_secret();
        self.qa("vm stop --force --wait");
        until("nothing to be left", Duration::from_secs(20), || match self.leftovers() {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        });
        self.stop_daemons();
        self.check_log();
        self.no_file_holds_a_secret();
    }

    /// The log has what the test caused, and nothing else at WARN or ERROR.
    #[track_caller]
    pub fn check_log(&mut self) {
        let log = self.log();
        let fresh = log.get(self.log_from..).unwrap_or_default();
        let is = |line: &str, (level, part): (&str, &str)| {
            line.contains(&format!(" {level} ")) && line.contains(part)
        };
        for expected in &self.expected {
            assert!(
                fresh.lines().any(|line| is(line, *expected)),
                "the log lacks what the test caused: {expected:?}"
            );
        }
        let is_bad = |line: &str| {
            [" WARN ", " ERROR ", "panicked"].iter().any(|word| line.contains(word))
                && !self.expected.iter().any(|expected| is(line, *expected))
                && !(is_slow() && SLOWNESS.iter().any(|word| line.contains(word)))
        };
        let lines: Vec<&str> = fresh.lines().collect();
        // With what was said before it, which is often why.
        let bad: Vec<&[&str]> = (0..lines.len())
            .filter(|at| is_bad(lines.get(*at).unwrap_or(&"")))
            .filter_map(|at| lines.get(at.saturating_sub(4)..=at))
            .collect();
        assert!(bad.is_empty(), "the log is not clean: {bad:#?}");
        self.expected.clear();
        self.log_from = log.len();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint_tail("the log", &self.log());
        }
        self.stop_daemons();
        let (at, prefix) = (self.folder.display(), &self.prefix);
        // What a failed test left; the containers are ended by their monitors' command lines.
        let _ = try_shell(&format!("pkill -KILL -f '[l]xc-start -F -n {prefix}-'"));
        self.database = None;
        let _ = try_shell(&format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do \
               find /sys/fs/cgroup -depth -type d -path '*lxc.*.{prefix}-*' -exec rmdir {{}} + 2>/dev/null && break; \
               sleep 0.2; done"
        ));
        let _ = try_shell(&format!(
            "grep -o ' {at}/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l; \
             losetup -j {at}/volume -O NAME -n | xargs -r losetup -d"
        ));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Enters a network and a mount table of this thread's own, with a volume.
#[expect(unsafe_code, reason = "unshare(2) of this thread's namespaces")]
fn enter(folder: &Path) {
    use rustix::thread::UnshareFlags;
    // SAFETY: no file descriptor table is unshared; only this thread's view of mounts and network
    // changes, and what it starts.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }
        .expect("namespaces for the test");
    let at = folder.display();
    shell(&format!(
        "mount --make-rprivate / && \
         mkdir {at}/groups && mount --rbind /sys/fs/cgroup {at}/groups && \
         mount -t sysfs sysfs /sys && \
         if grep -qw securityfs /proc/filesystems; then mount -t securityfs none /sys/kernel/security; fi && \
         mount --rbind {at}/groups /sys/fs/cgroup && umount -l {at}/groups && \
         mkdir -p /tmp/.X11-unix && mount -t tmpfs -o mode=1777 tmpfs /tmp/.X11-unix && \
         ip link set lo up && mkdir -m 755 {at}/home && \
         truncate -s 12G {at}/volume && mkfs.btrfs -q {at}/volume && mkdir {at}/storage && \
         mount -o loop,nosuid,nodev {at}/volume {at}/storage"
    ));
}

/// A word of a shell line.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What a program runs under to be the user's.
fn become_user(user: &str) -> String {
    format!("setpriv --reuid {user} --regid {user} --init-groups")
}

/// Prints the process of a user's desktop: the child of the session's supervisor that has its display.
fn desktop_of(user: &str) -> String {
    format!(
        "supervisor=$(pgrep -o -u {user} -f '^/[a-z/]*/vma session ') && \
         for pid in $(pgrep -P $supervisor); do \
           if {} grep -qzx DISPLAY=:100 /proc/$pid/environ; then echo $pid; exit 0; fi; \
         done; echo 'there is no desktop yet' >&2; exit 1",
        become_user(user)
    )
}

/// The build's folder.
pub fn target() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    own.ancestors()
        .find(|folder| folder.file_name().is_some_and(|name| name == "target"))
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
}

/// One of our programs, built as this one is: the tests' as `debug`, the benchmarks' as `release`.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let profile = own.strip_prefix(target()).ok().and_then(|path| path.iter().next());
    target().join(profile.unwrap_or("debug".as_ref())).join(name)
}

/// An image, built or from the cache.
pub fn image_file(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the tree");
    let built = said("images/build", command(root.join("images/build")).arg(name).output());
    let built = built.unwrap_or_else(|why| panic!("{why}"));
    PathBuf::from(built.lines().last().unwrap_or_default())
}

#[expect(clippy::print_stderr, reason = "a failed test shows what it knows")]
fn eprint_tail(what: &str, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default();
    eprintln!("--- {what}, its end:\n{}", tail.join("\n"));
}
