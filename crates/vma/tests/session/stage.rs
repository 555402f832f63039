//! What a session needs around it: a folder, a user, an X server for the clients, a small desktop.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "part of a test: what fails here fails the test"
)]

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::UnixStream,
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use wire::{
    agent::{Ask, Session, Tell},
    frame::{Decoder, encode},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "the one door of these tests")]
fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

/// Until `what` holds.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Display numbers of this process: those of other processes differ in the tens of their number.
static DISPLAYS: AtomicU16 = AtomicU16::new(0);

fn free_display() -> u16 {
    wait_for("a free display", || {
        let base = 1000 + u16::try_from(std::process::id() % 3000).unwrap() * 10;
        let display = base + DISPLAYS.fetch_add(1, Ordering::Relaxed) % 10;
        let taken = [format!("/tmp/.X{display}-lock"), format!("/tmp/.X11-unix/X{display}")];
        (!taken.iter().any(|path| Path::new(path).exists())).then_some(display)
    })
}

/// Everything around one session.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    uid: u32,
    display: u16,
    screen: u16,
    xvfb: Child,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("qvd-vma-").tempdir().unwrap();
        // A user of its own, so that whose processes are whose can be told.
        let uid = 600_000 + std::process::id() % 100_000;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["session", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            chown(folder.path().join(name), Some(uid), Some(uid)).unwrap();
        }
        let desktop = folder.path().join("desktop");
        // A desktop with a program in the foreground and one that was left behind by its parent.
        let script = "#!/bin/sh\n(sleep 1000 &)\nxdpyinfo >/dev/null || exit 1\n\
                      echo $$ >\"$HOME/desktop\"\nexec sleep 1001\n";
        fs::write(&desktop, script).unwrap();
        fs::set_permissions(&desktop, Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_qvd-vma"), folder.path().join("vma")).unwrap();
        let screen = free_display();
        let xvfb = program("Xvfb")
            .args([&format!(":{screen}"), "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is in the package xvfb");
        wait_for("Xvfb", || UnixStream::connect(format!("/tmp/.X11-unix/X{screen}")).ok());
        Self { folder, uid, display: free_display(), screen, xvfb }
    }

    /// The session's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("session")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The number of the desktop's process.
    pub(crate) fn desktop_process(&self) -> u32 {
        let number = wait_for("the desktop", || {
            fs::read_to_string(self.home().join("desktop")).ok()?.trim().parse().ok()
        });
        assert!(self.processes().contains(&number), "the desktop has ended");
        number
    }

    /// The user leaves.
    pub(crate) fn log_out(&self) {
        let number = i32::try_from(self.desktop_process()).unwrap();
        let pid = rustix::process::Pid::from_raw(number).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Every process of the session's user.
    pub(crate) fn processes(&self) -> Vec<u32> {
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| {
                fs::metadata(format!("/proc/{number}")).is_ok_and(|found| found.uid() == self.uid)
            })
            .collect()
    }

    /// A real client: `nxproxy`, and a relay that opens the session's door at its first bytes.
    pub(crate) fn client(&self, caller: &mut Caller) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let nxproxy = program("nxproxy")
            .args(["-S", &format!("nx/nx,connect=127.0.0.1,port={port}:0")])
            .env("DISPLAY", format!(":{}", self.screen))
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("nxproxy is in the package nxproxy");
        let (mut near, _) = listener.accept().unwrap();
        let mut first = [0; 256];
        let read = near.read(&mut first).unwrap();
        let mut far = caller.open();
        far.write_all(&first[..read]).unwrap();
        relay(near.try_clone().unwrap(), far.try_clone().unwrap());
        relay_back(far.try_clone().unwrap(), near.try_clone().unwrap());
        Client { nxproxy, near, far }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.xvfb.kill();
        let _ = self.xvfb.wait();
    }
}

fn relay(mut from: TcpStream, mut to: UnixStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn relay_back(mut from: UnixStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A client; cut off when dropped.
pub(crate) struct Client {
    nxproxy: Child,
    near: TcpStream,
    far: UnixStream,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.far.shutdown(Shutdown::Both);
        let _ = self.near.shutdown(Shutdown::Both);
        let _ = self.nxproxy.kill();
        let _ = self.nxproxy.wait();
    }
}

/// A running supervisor.
pub(crate) struct Supervised<'a> {
    stage: &'a Stage,
    process: std::cell::RefCell<Child>,
}

impl<'a> Supervised<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        let path = |name: &str| stage.folder.path().join(name);
        let process = program(path("vma"))
            .arg("session")
            .arg("--folder")
            .arg(stage.folder())
            .args(["--display", &stage.display.to_string()])
            .arg("--program")
            .arg(path("vma"))
            .args(["--nxagent", "/usr/bin/nxagent", "--desktop"])
            .arg(path("desktop"))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", stage.home())
            .env("DBUS_SESSION_BUS_ADDRESS", "none")
            .uid(stage.uid)
            .gid(stage.uid)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let supervised = Self { stage, process: process.into() };
        wait_for("the supervisor", || UnixStream::connect(supervised.control()).ok());
        supervised
    }

    fn control(&self) -> PathBuf {
        self.stage.folder().join("control")
    }

    pub(crate) fn connect(&self) -> Caller {
        let stream = UnixStream::connect(self.control()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Caller { stream, decoder: Decoder::default() }
    }

    pub(crate) fn follow(&self) -> Follower {
        let mut caller = self.connect();
        caller.say(&Ask::Follow);
        Follower { caller, last: None }
    }

    /// A program with the session's cookie can speak with the display; one without cannot.
    pub(crate) fn ping_the_display(&self) {
        let ping = |authority: PathBuf| {
            program("xdpyinfo")
                .env_clear()
                .env("DISPLAY", format!(":{}", self.stage.display))
                .env("XAUTHORITY", authority)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .uid(self.stage.uid)
                .status()
                .unwrap()
                .success()
        };
        assert!(ping(self.stage.folder().join("Xauthority")));
        assert!(!ping(PathBuf::from("/dev/null")), "the display is open to all");
    }

    /// Waits for its end, which must be a good one.
    pub(crate) fn has_ended(&self) {
        let status =
            wait_for("the supervisor's end", || self.process.borrow_mut().try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        // After a failed test only: what has ended is not killed.
        if self.process.borrow_mut().try_wait().unwrap().is_none() {
            for number in self.stage.processes() {
                let pid = rustix::process::Pid::from_raw(number.cast_signed()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = self.process.borrow_mut().wait();
        }
    }
}

/// One connection to the supervisor.
pub(crate) struct Caller {
    stream: UnixStream,
    decoder: Decoder,
}

impl Caller {
    fn say(&mut self, ask: &Ask) {
        self.stream.write_all(&encode(ask)).unwrap();
    }

    fn hear(&mut self) -> (Tell, Option<OwnedFd>) {
        let mut descriptor = None;
        loop {
            if let Some(tell) = self.decoder.next_message().unwrap() {
                return (tell, descriptor);
            }
            let mut buffer = [0; 4096];
            let (read, came) = wire::descriptor::receive(&self.stream, &mut buffer).unwrap();
            assert!(read > 0, "the supervisor went away");
            self.decoder.push(&buffer[..read]);
            descriptor = came.or(descriptor);
        }
    }

    /// The answer to `ask`.
    pub(crate) fn ask(&mut self, ask: &Ask) -> Tell {
        self.say(ask);
        loop {
            match self.hear().0 {
                Tell::Progress { .. } => {}
                answer => return answer,
            }
        }
    }

    /// The connection to `nxagent`.
    pub(crate) fn open(&mut self) -> UnixStream {
        self.say(&Ask::Open);
        match self.hear() {
            (Tell::Opened, Some(connection)) => UnixStream::from(connection),
            other => panic!("{other:?}"),
        }
    }
}

/// One who is told every change.
pub(crate) struct Follower {
    caller: Caller,
    last: Option<Session>,
}

impl Follower {
    /// The next state.
    pub(crate) fn next(&mut self) -> Session {
        match self.caller.hear().0 {
            Tell::State { session } => {
                assert_ne!(self.last, Some(session), "told twice");
                self.last = Some(session);
                session
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits for `session`.
    pub(crate) fn until(&mut self, session: Session) {
        while self.next() != session {}
    }

    /// Waits for `session` for at most this long.
    pub(crate) fn until_within(&mut self, session: Session, limit: Duration) {
        let start = Instant::now();
        self.until(session);
        assert!(start.elapsed() < limit, "{:?}", start.elapsed());
    }
}
