//! What a session needs around it: a folder, a user, a small desktop.

#![expect(clippy::unwrap_used, reason = "part of a test: what fails here fails the test")]

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        net::UnixStream,
        process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    client::{Caller, Client, Follower},
    screen::{Screen, free_display, program, wait_for},
};

/// Users of this process.
static USERS: AtomicU32 = AtomicU32::new(0);

/// Everything around one session.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    uid: u32,
    display: u16,
    screen: Screen,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("qvd-vma-").tempdir().unwrap();
        // A user of its own, so that whose processes are whose can be told.
        let uid =
            600_000 + std::process::id() % 10_000 * 10 + USERS.fetch_add(1, Ordering::Relaxed);
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
        Self { folder, uid, display: free_display(), screen: Screen::new() }
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

    /// A real client.
    pub(crate) fn client(&self, caller: &mut Caller) -> Client {
        self.screen.client(self.folder.path(), caller)
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
        Caller::new(&self.control())
    }

    pub(crate) fn follow(&self) -> Follower {
        Follower::new(&self.control())
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
