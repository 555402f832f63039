//! `nxproxy`, which draws the desktop on this machine's display.
//!
//! It connects to us through a unix socket in a folder that only we can enter, and that is gone as
//! soon as it has: no port is opened on this machine, and nobody else can come first.

use std::{
    collections::VecDeque,
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{command::command, failure::Failure};

/// For nxproxy to connect to us.
const START: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// For nxproxy to end by itself.
const END: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// How many of its last lines are kept.
const LINES: usize = 30;

/// The longest path a unix socket may have, and some to spare.
const PATH_MAX: usize = 100;

/// A running nxproxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    child: Child,
    said: Arc<Mutex<Said>>,
    listener: Option<thread::JoinHandle<()>>,
}

/// What nxproxy has said.
#[derive(Debug, Default)]
struct Said {
    lines: VecDeque<String>,
    established: bool,
}

/// Lets this user's own processes onto the display. The desktop speaks to it through nxproxy without
/// its cookie, as with the original's clients; who runs as this user could read the cookie anyway.
fn let_in() {
    let own = format!("+si:localuser:#{}", rustix::process::getuid());
    let asked = command("xhost").arg(own).stdout(Stdio::null()).stderr(Stdio::null()).status();
    // A server that asks for nothing needs nothing. One that refuses is named when it has.
    drop(asked);
}

impl Proxy {
    /// Starts nxproxy and waits until it has connected to us. `shown` is called when the desktop is
    /// on the display.
    pub(crate) fn start(
        verbose: bool,
        shown: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, UnixStream), Failure> {
        let local = |what: &str, error: io::Error| Failure::Local(format!("{what}: {error}"));
        let folder = private_folder().map_err(|error| local("cannot make a folder", error))?;
        let path = folder.path().join("nx");
        let listener =
            UnixListener::bind(&path).map_err(|error| local("cannot wait for nxproxy", error))?;
        let_in();
        let mut nxproxy = command("nxproxy");
        nxproxy
            .arg("-S")
            .arg(format!("nx/nx,connect=unix:{}:1", path.display()))
            // Its own dialogs would ask what this client answers by itself.
            .env("NX_CLIENT", "false")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(cache) = cache_folder() {
            nxproxy.env("NX_ROOT", cache);
        }
        let mut child = nxproxy.spawn().map_err(|error| local("cannot start nxproxy", error))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let listening = child.stderr.take().map(|stderr| {
            let said = Arc::clone(&said);
            thread::spawn(move || listen(stderr, &said, verbose, shown))
        });
        let mut proxy = Self { child, said, listener: listening };
        match proxy.accept(&listener) {
            Ok(Some(stream)) => Ok((proxy, stream)),
            Ok(None) => Err(proxy.explain("nxproxy did not start")),
            Err(error) => Err(local("cannot wait for nxproxy", error)),
        }
    }

    /// Whether the desktop was ever on the display.
    pub(crate) fn established(&self) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).established
    }

    /// Waits until nxproxy has ended; ends it when it does not by itself.
    pub(crate) fn finish(&mut self) {
        if !matches!(self.wait(&END), Ok(true)) {
            // One that has just ended needs no killing.
            self.child.kill().ok();
        }
        self.child.wait().ok();
        if let Some(listener) = self.listener.take() {
            listener.join().ok();
        }
    }

    /// What went wrong, in nxproxy's words.
    pub(crate) fn explain(&mut self, what: &str) -> Failure {
        self.finish();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.lines.iter().any(|line| line.contains("refusing access to the client")) {
            return Failure::Local(format!(
                "{what}: the X server {} refuses it; install `xhost` (Debian: x11-xserver-utils)",
                std::env::var("DISPLAY").unwrap_or_default()
            ));
        }
        let error = said.lines.iter().find(|line| line.starts_with("Error:"));
        match error.or(said.lines.back()) {
            Some(line) => Failure::Local(format!("{what}: {line}")),
            None => Failure::Local(what.to_owned()),
        }
    }

    /// The connection of nxproxy, or none when it ends before.
    fn accept(&mut self, listener: &UnixListener) -> io::Result<Option<UnixStream>> {
        let ended = self.pidfd()?;
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
        retry(|| poll(&mut fds, Some(&START)))?;
        let [connection, _] = &fds;
        if connection.revents().contains(PollFlags::IN) {
            return listener.accept().map(|(stream, _)| Some(stream));
        }
        Ok(None)
    }

    fn wait(&mut self, most: &Timespec) -> io::Result<bool> {
        let ended = self.pidfd()?;
        let mut fds = [PollFd::new(&ended, PollFlags::IN)];
        Ok(retry(|| poll(&mut fds, Some(most)))? > 0)
    }

    fn pidfd(&self) -> io::Result<rustix::fd::OwnedFd> {
        Ok(pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Without this client it has nothing to show.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(&mut call)?)
}

/// Keeps what nxproxy says, and notices when the desktop is there.
fn listen(stderr: ChildStderr, said: &Mutex<Said>, verbose: bool, shown: impl FnOnce()) {
    let mut shown = Some(shown);
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if verbose {
            writeln!(io::stderr(), "nxproxy: {line}").ok();
        }
        let established = line.starts_with("Info: Established X server connection");
        {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.established |= established;
            if said.lines.len() == LINES {
                said.lines.pop_front();
            }
            if !line.is_empty() {
                said.lines.push_back(line);
            }
        }
        if established && let Some(shown) = shown.take() {
            shown();
        }
    }
}

/// A folder for our eyes, with a path that fits a socket and an NX option.
fn private_folder() -> io::Result<tempfile::TempDir> {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| fits(path));
    tempfile::Builder::new()
        .prefix("qvd-client-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(runtime.unwrap_or_else(|| PathBuf::from("/tmp")))
}

fn fits(path: &Path) -> bool {
    path.is_dir()
        && path.to_str().is_some_and(|text| {
            text.len() + "/qvd-client-XXXXXX/nx".len() <= PATH_MAX
                && !text.contains([',', ':', '=', ' '])
        })
}

/// Where nxproxy keeps pictures it has seen before.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    let path = cache.join("qvd/nx");
    fs::create_dir_all(&path).ok()?;
    Some(path)
}
