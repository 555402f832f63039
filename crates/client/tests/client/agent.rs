//! A real nxagent, as it runs in a VM: on a unix socket, suspended when its client goes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::program::{Running, program};

/// What nxagent says when a client may connect.
const WAITING: &str = "Info: Waiting for connection";

pub(crate) struct Agent {
    folder: TempDir,
    display: u32,
    running: Running,
}

impl Agent {
    /// Starts one that waits for its first client.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The first number from here on that nobody uses; tests run in processes of their own.
        let first = 300 + std::process::id() % 5000;
        let mut numbers = first..first + 1000;
        let taken = |number: &u32| Path::new(&format!("/tmp/.X11-unix/X{number}")).exists();
        let display = numbers.find(|number| !taken(number)).unwrap();
        let path = |name: &str| folder.path().join(name);
        let options = format!("nx/nx,link=lan,listen=unix:{}:{display}\n", path("nx").display());
        fs::write(path("options"), options).unwrap();
        let cookie = "0123456789abcdef0123456789abcdef";
        let made = program("xauth")
            .arg("-f")
            .arg(path("authority"))
            .args(["add", &format!(":{display}"), ".", cookie])
            .output()
            .unwrap();
        assert!(made.status.success());
        let running = Running::start(
            program("nxagent")
                .arg(format!(":{display}"))
                .arg("-display")
                .arg(format!("nx/nx,options={}:{display}", path("options").display()))
                .args(["-nolisten", "tcp", "-D", "-name", "qvd", "-auth"])
                .arg(path("authority"))
                .env("HOME", folder.path())
                .stdout(std::process::Stdio::null()),
        );
        running.wait_for(WAITING, 1);
        Self { folder, display, running }
    }

    /// Where it waits for a client.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("nx")
    }

    /// Makes it wait for a client again; the first time it does already.
    pub(crate) fn listen(&self) {
        let waited = self.running.count(WAITING);
        if self.running.count("Session: Session started") == 0 {
            return;
        }
        let suspended = waited;
        self.running.wait_for("Session: Session suspended", suspended);
        // A HUP that comes too soon after the suspension is lost.
        let resuming = self.running.count("Session: Resuming session");
        while !self.running.says(
            "Session: Resuming session",
            resuming + 1,
            Duration::from_millis(300),
        ) {
            self.signal(Signal::HUP);
        }
        self.running.wait_for(WAITING, waited + 1);
    }

    /// Waits until a client has been on for so many times.
    pub(crate) fn on(&self, times: usize) {
        self.running.wait_for("Session: Session started", 1);
        self.running.wait_for("Session: Session resumed", times - 1);
    }

    /// Paints the desktop.
    pub(crate) fn paint(&self, colour: &str) {
        let painted = program("xsetroot")
            .args(["-solid", colour, "-display", &format!(":{}", self.display)])
            .env("XAUTHORITY", self.folder.path().join("authority"))
            .output()
            .unwrap();
        assert!(painted.status.success(), "{painted:?}");
    }

    /// The session ends, as on logging out.
    pub(crate) fn log_out(&self) {
        self.signal(Signal::TERM);
    }

    /// The session is suspended from the server's side.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running.child), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Asked to, it takes its sockets and locks along. While it waits it needs to be asked twice.
        for _ in 0..2 {
            if !self.running.ended(Duration::ZERO) {
                self.signal(Signal::TERM);
                self.running.ended(Duration::from_secs(3));
            }
        }
    }
}
