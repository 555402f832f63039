//! The client's side of a test: an X server, and the programs that are started.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "part of a test: what fails here fails the test"
)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Caller, Client};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "the one door of these tests")]
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(name)
}

/// Until `what` holds.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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

/// A display number that is not taken.
pub(crate) fn free_display() -> u16 {
    wait_for("a free display", || {
        let base = 1000 + u16::try_from(std::process::id() % 3000).unwrap() * 10;
        let display = base + DISPLAYS.fetch_add(1, Ordering::Relaxed) % 10;
        let taken = [format!("/tmp/.X{display}-lock"), format!("/tmp/.X11-unix/X{display}")];
        (!taken.iter().any(|path| Path::new(path).exists())).then_some(display)
    })
}

/// The X server of the clients.
pub(crate) struct Screen {
    number: u16,
    xvfb: Child,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let number = free_display();
        let xvfb = program("Xvfb")
            .args([&format!(":{number}"), "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb is in the package xvfb");
        wait_for("Xvfb", || UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).ok());
        Self { number, xvfb }
    }

    /// A real client: `nxproxy`, and a relay that opens the session's door at its first bytes.
    /// `folder`: where `nxproxy` may keep files.
    pub(crate) fn client(&self, folder: &Path, caller: &mut Caller) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let nxproxy = program("nxproxy")
            .args(["-S", &format!("nx/nx,connect=127.0.0.1,port={port}:0")])
            .env("DISPLAY", format!(":{}", self.number))
            .env("HOME", folder)
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
        Client::new(nxproxy, near, far)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Asked to end, it takes its socket and its lock with it.
        let pid = Pid::from_child(&self.xvfb);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.xvfb.wait();
    }
}
