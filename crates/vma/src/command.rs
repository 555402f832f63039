//! The door to the guest's own programs.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// Where an image keeps its programs, in the order they are looked for.
const PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How much of what a program says is kept for an error.
const SAID_MAX: u64 = 4096;

/// A program of the guest that did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} did not end within {} seconds", limit.as_secs())]
    Slow {
        /// Its name.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// It said no.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its standard error.
        said: String,
    },
}

/// A command for `program`, with a clean environment.
#[expect(clippy::disallowed_methods, reason = "the one door of this crate")]
pub(crate) fn program(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH.join(":"));
    command
}

/// Where the image has `name`, if it can be executed there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    PATH.iter().map(|folder| Path::new(folder).join(name)).find(|path| executable(path))
}

/// Whether `path` is a file that can be executed.
pub(crate) fn executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Runs `command` to its end, with nothing to read, for at most `limit`. Returns what it wrote to its
/// standard output (the first part of it).
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<String, CommandError> {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program())
        .to_string_lossy()
        .into_owned();
    let start = |error| CommandError::Start { program: program.clone(), error };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if !ends_within(child.id(), limit, || true) {
        // A program that cannot be killed either is left to init.
        let _ = child.kill();
        let _ = child.wait();
        return Err(CommandError::Slow { program, limit });
    }
    let status = child.wait().map_err(start)?;
    let said = child.stderr.take().map(first_part).unwrap_or_default();
    if !status.success() {
        return Err(CommandError::Failed { program, status, said });
    }
    Ok(child.stdout.take().map(first_part).unwrap_or_default())
}

fn first_part(stream: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could not be read was not said.
    let _ = stream.take(SAID_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).trim().replace('\n', "; ")
}

/// Waits until a process has ended, for at most `limit`, and says whether it has; `still` is as in
/// [`signal`].
pub(crate) fn ends_within(number: u32, limit: Duration, still: impl FnOnce() -> bool) -> bool {
    let Some(pidfd) = pid(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return true;
    };
    if !still() {
        return true;
    }
    let until = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            found => return matches!(found, Ok(ready) if ready > 0),
        }
    }
}

/// A process number as the kernel's calls take it.
pub(crate) fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

/// Sends `signal` to a process that is not our child; `still` says whether the number still names
/// the one that is meant, and is asked when the number can no longer change hands.
pub(crate) fn signal(number: u32, signal: Signal, still: impl FnOnce() -> bool) {
    let Some(pidfd) = pid(number).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
        return;
    };
    if still() {
        // It may have ended by itself meanwhile, which is what is wanted.
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_program_is_ended_and_a_failing_one_quoted() {
        let slow = run(program("/bin/sleep").arg("60"), Duration::from_millis(20));
        assert!(matches!(slow, Err(CommandError::Slow { .. })));
        let failed = run(
            program("/bin/sh").args(["-c", "echo no room >&2; exit 3"]),
            Duration::from_secs(20),
        );
        assert_eq!(failed.unwrap_err().to_string(), "sh failed (exit status: 3): no room");
        let said = run(program("/bin/sh").args(["-c", "echo yes"]), Duration::from_secs(20));
        assert_eq!(said.unwrap(), "yes");
    }
}
