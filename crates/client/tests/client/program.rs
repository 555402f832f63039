//! Programs the tests start, and what they say.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// What a test waits for happens well within this.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A program with an environment of its own.
#[expect(clippy::disallowed_methods, reason = "the tests' door to other programs")]
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    command
}

/// A running program whose words are kept.
pub(crate) struct Running {
    pub(crate) child: Child,
    heard: Arc<Heard>,
}

/// What a program has said, and whether it has ended.
type Heard = (Mutex<(Vec<String>, bool)>, Condvar);

impl Running {
    /// Starts it; what it writes to standard error is kept.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        let heard = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let (stderr, ear) = (child.stderr.take().unwrap(), Arc::clone(&heard));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                ear.0.lock().unwrap().0.push(line);
                ear.1.notify_all();
            }
            ear.0.lock().unwrap().1 = true;
            ear.1.notify_all();
        });
        Self { child, heard }
    }

    /// How many lines hold this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.heard.0.lock().unwrap().0.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until so many lines hold this text, as long as given.
    pub(crate) fn says(&self, text: &str, times: usize, most: Duration) -> bool {
        let enough = |(lines, ended): &mut (Vec<String>, bool)| {
            !*ended && lines.iter().filter(|line| line.contains(text)).count() < times
        };
        let heard = self.heard.0.lock().unwrap();
        drop(self.heard.1.wait_timeout_while(heard, most, enough).unwrap());
        self.count(text) >= times
    }

    /// Waits until a line holds this text.
    pub(crate) fn wait_for(&self, text: &str, times: usize) {
        assert!(self.says(text, times, SOON), "waited for {text:?}, heard {:#?}", self.words());
    }

    /// All it has said.
    pub(crate) fn words(&self) -> String {
        self.heard.0.lock().unwrap().0.join("\n")
    }

    /// Whether it has ended, or does within so long.
    pub(crate) fn ended(&self, most: Duration) -> bool {
        let heard = self.heard.0.lock().unwrap();
        self.heard.1.wait_timeout_while(heard, most, |(_, ended)| !*ended).unwrap().0.1
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        assert!(self.ended(SOON), "it does not end, and says {:#?}", self.words());
        (self.child.wait().unwrap(), self.words())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With all it has started.
        let group = Pid::from_child(&self.child);
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// `qvd-client` for a user with this home and this display.
pub(crate) fn client(home: &Path, display: Option<u32>) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_qvd-client"));
    command.env("HOME", home).env("USER", "ann").env("QVDPASSWORD", "secret");
    if let Some(display) = display {
        command.env("DISPLAY", format!(":{display}"));
    }
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn outcome(command: &mut Command) -> (i32, String, String) {
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let mut out = String::new();
    running.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    let (status, err) = running.end();
    (status.code().unwrap(), out, err)
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "waited for {what}");
        thread::yield_now();
    }
}
