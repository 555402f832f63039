//! The one door through which hkd starts other programs.
//!
//! One long-lived thread starts them all: a parent-death signal follows the thread that forked, and a
//! descriptor made inheritable for one program is not inherited by another that starts meanwhile.
//! Arguments are logged at debug; nothing secret is ever an argument.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::File,
    io::{self, Read, Seek as _, Write as _},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    process::{Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, prlimit, waitid},
};

use super::error::{Doing, Error, Result};

/// A program to run.
#[derive(Debug)]
pub struct Command {
    program: String,
    arguments: Vec<OsString>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    inherit: Vec<OwnedFd>,
    own_session: bool,
    path: &'static str,
}

/// How much of what a program says is kept: the end of it.
const SAID_MAX: usize = 4096;

struct Job {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

static STARTER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("starter".to_owned())
        .spawn(move || {
            for Job { command, reply } in jobs {
                // The one who asked may have gone: then the child is an orphan that ends by itself.
                let _ = reply.send(command.spawn_here());
            }
        })
        .expect("a process can have one more thread at its start");
    sender
});

impl Command {
    /// A program by its name or path.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            stdin: None,
            stdout: None,
            inherit: Vec::new(),
            own_session: false,
            path: PATH,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// What it reads; otherwise nothing.
    #[must_use]
    pub fn stdin(mut self, from: OwnedFd) -> Self {
        self.stdin = Some(from);
        self
    }

    /// Where it writes; otherwise what it says is kept for the error.
    #[must_use]
    pub fn stdout(mut self, to: OwnedFd) -> Self {
        self.stdout = Some(to);
        self
    }

    /// A descriptor the program inherits under the number it has in this process, which is returned.
    pub fn inherit(&mut self, descriptor: OwnedFd) -> i32 {
        let number = descriptor.as_raw_fd();
        self.inherit.push(descriptor);
        number
    }

    /// The program gets a session of its own and outlives this daemon.
    #[must_use]
    pub fn own_session(mut self) -> Self {
        self.own_session = true;
        self
    }

    /// It finds no other programs by their names.
    #[must_use]
    pub fn finds_nothing(mut self) -> Self {
        self.path = "/dev/null";
        self
    }

    /// Starts it without waiting. With no other place given, what it says goes to /dev/null.
    pub fn spawn(self) -> Result<Child> {
        let program = self.program.clone();
        let (reply, answer) = mpsc::channel();
        let lost = || io::Error::other("the starter has ended");
        STARTER
            .send(Job { command: self, reply })
            .map_err(|_| lost())
            .and_then(|()| answer.recv().map_err(|_| lost())?)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => Error::NotInstalled { program },
                _ => Error::System { doing: format!("run {program}"), source },
            })
    }

    /// Runs it to its end. What it said is returned, or is in the error.
    pub fn run(mut self, within: Duration) -> Result<String> {
        let program = self.program.clone();
        let doing = || format!("run {program}");
        let (mut out, out_at) = io::pipe().doing(doing)?;
        if self.stdout.is_none() {
            self.stdout = Some(out_at.into());
        }
        let child = self.spawn()?;
        let (status, said) = hear(child, &mut out, within).doing(doing)?;
        let Some(status) = status else {
            return Err(Error::Timeout { program, seconds: within.as_secs() });
        };
        judge(&program, status, String::from_utf8_lossy(&said).into_owned())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    fn spawn_here(self) -> io::Result<Child> {
        let mut line = self.program.clone();
        for argument in &self.arguments {
            let _ = write!(line, " {}", argument.display());
        }
        tracing::debug!(command = line, "starting a program");
        // By its path: where the name has to be looked for in a new PATH, this process is forked.
        let found = find(&self.program).ok_or(io::ErrorKind::NotFound)?;
        let mut command = std::process::Command::new(found);
        command.args(&self.arguments).env_clear().env("PATH", self.path);
        command.env("LC_ALL", "C.UTF-8").current_dir("/");
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from));
        match self.stdout {
            Some(out) => {
                command.stderr(Stdio::from(out.try_clone()?)).stdout(Stdio::from(out));
            }
            None => {
                command.stderr(Stdio::null()).stdout(Stdio::null());
            }
        }
        if self.own_session {
            use std::os::unix::process::CommandExt;
            // A process group of its own: a signal to the daemon's group does not reach it.
            command.process_group(0);
        }
        for descriptor in &self.inherit {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        let child = command.spawn().inspect(few_descriptors);
        for descriptor in &self.inherit {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
        }
        child
    }
}

/// A text for a program's standard input; `name` is what the kernel calls it.
pub fn text(name: &str, text: &str) -> Result<OwnedFd> {
    let doing = || format!("hand over the {name}");
    let file = memfd_create(name, MemfdFlags::CLOEXEC).doing(doing)?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).doing(doing)?;
    Ok(file.into())
}

/// Where programs are.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a program is, if it is installed.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

/// How many descriptors a program may open as long as it asks for no more: hkd takes as many as it can,
/// but `select` knows no more than this, and old programs close as many as they could have.
const DESCRIPTORS: u64 = 1024;

/// Gives a child the number of descriptors that programs are used to, and what it starts after it.
fn few_descriptors(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS)));
    // One that has ended already needs none.
    let _ = prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum });
}

/// Takes a child that nobody waits for among those that we have, and leave of those that have ended: their
/// status means nothing, but they must not stay as zombies.
pub fn reap(child: Option<Child>) {
    static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.extend(child);
    // Asked of all at once, as it is asked often: mostly none has.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if matches!(waitid(WaitId::All, look), Ok(None)) {
        return;
    }
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// How long a child that was killed may take to be gone.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// Waits for a child; ends it when its time is up and returns `None`.
pub fn wait(child: Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    watch(child, within, None)
}

/// Waits for a child as [`wait`] does, and returns the end of what came out of its pipe meanwhile.
///
/// What it left behind may hold the other end of the pipe for ever, so the end of the pipe is not
/// waited for: what the child said before it ended is there when it has ended.
fn hear(
    child: Child,
    out: &mut io::PipeReader,
    within: Duration,
) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    rustix::io::ioctl_fionbio(&*out, true)?;
    let mut said = Said { out, kept: Vec::new(), open: true };
    let status = watch(child, within, Some(&mut said))?;
    said.listen()?;
    Ok((status, said.kept))
}

fn watch(
    mut child: Child,
    within: Duration,
    mut said: Option<&mut Said<'_>>,
) -> io::Result<Option<ExitStatus>> {
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let until = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.kill()?;
            // One that storage holds up does not end before it answers.
            let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timespec(ENDS_WITHIN)));
            reap(Some(child));
            return Ok(None);
        }
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if let Some(said) = said.as_ref().filter(|said| said.open) {
            polled.push(PollFd::new(&*said.out, PollFlags::IN));
        }
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(said) = &mut said {
            said.listen()?;
        }
    }
}

/// A span of time as the kernel takes it.
pub fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: span.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: span.subsec_nanos().into(),
    }
}

/// What comes out of a program's pipe, which does not block.
struct Said<'a> {
    out: &'a mut io::PipeReader,
    kept: Vec<u8>,
    open: bool,
}

impl Said<'_> {
    /// Takes in what is there, but no more than a pipe holds: who writes without end is not listened
    /// to without end.
    fn listen(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match self.out.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    break;
                }
                Ok(read) => self.kept.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let over = self.kept.len().saturating_sub(16 * SAID_MAX);
        self.kept.drain(..over);
        Ok(())
    }
}

/// Success, or an error with the end of what the program said.
pub fn judge(program: &str, status: ExitStatus, said: String) -> Result<String> {
    if status.success() {
        return Ok(said);
    }
    let said = said.trim();
    let skip = said.len().saturating_sub(SAID_MAX);
    let start = (skip..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(said.len());
    let tail = said.get(start..).unwrap_or_default().lines().rev().take(4).collect::<Vec<_>>();
    let said = tail.into_iter().rev().collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
    Err(Error::Program { program: program.to_owned(), status: status.to_string(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_quoted_and_a_slow_one_is_ended() {
        let long = Duration::from_secs(20);
        let said = Command::new("sh").args(["-c", "echo no room >&2; exit 3"]).run(long);
        assert_eq!(said.unwrap_err().to_string(), "sh failed (exit status: 3): no room");
        let slow = Command::new("sh").args(["-c", "exec sleep 600"]).run(Duration::from_millis(50));
        assert!(matches!(slow, Err(Error::Timeout { .. })));
        let missing = Command::new("/no/such/program").run(long).unwrap_err();
        assert!(missing.is_missing(), "{missing}");
    }

    #[test]
    fn a_program_has_as_many_descriptors_as_it_is_used_to() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let (from, mut go) = io::pipe().unwrap();
        let (mut out, to) = io::pipe().unwrap();
        let command = Command::new("sh").args(["-c", "read x; ulimit -Sn"]);
        let mut child = command.stdin(from.into()).stdout(to.into()).spawn().unwrap();
        go.write_all(b"\n").unwrap();
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        assert_eq!(said.trim(), "1024");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn what_a_program_leaves_behind_is_not_waited_for() {
        // Holds the pipe until it is told to go, as a process in a guest may hold it for ever.
        let (go, mut tell) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        let number = command.inherit(go.into());
        let script = format!("(read x; echo late) <&{number} & echo no room; exit 3");
        let begun = Instant::now();
        let said = command.args(["-c", &script]).run(Duration::from_mins(10));
        assert_eq!(said.unwrap_err().to_string(), "sh failed (exit status: 3): no room");
        assert!(begun.elapsed() < Duration::from_mins(1));
        tell.write_all(b"\n").unwrap();
    }

    #[test]
    fn who_writes_without_end_is_heard_at_its_end() {
        let script = "yes | head -c 3000000; echo the end; exit 1";
        let said = Command::new("sh").args(["-c", script]).run(Duration::from_secs(20));
        let said = said.unwrap_err().to_string();
        assert_eq!(said, "sh failed (exit status: 1): y; y; y; the end");
    }

    #[test]
    fn a_descriptor_is_inherited_by_its_program_and_no_other() {
        let (mut read, write) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        let number = command.inherit(write.into());
        // Another program that is started while the first is only being put together.
        let other = format!("test ! -e /proc/self/fd/{number}");
        Command::new("sh").args(["-c", &other]).run(Duration::from_secs(20)).unwrap();
        let script = format!("test -e /proc/self/fd/{number} && echo through >&{number}");
        command.args(["-c", &script]).run(Duration::from_secs(20)).unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through\n");
    }
}
