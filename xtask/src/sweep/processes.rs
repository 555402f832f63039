//! Processes of a dead run.

use std::{fmt, fs, os::fd::OwnedFd, path::Path};

use anyhow::{Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{Run, cgroups};

/// Variables that name a folder where a person stands, not where a program belongs.
const PLACES: [&str; 2] = ["PWD", "OLDPWD"];
/// Programs that a run starts with paths of its folder as arguments. Those of people who look into
/// the folder are none of them.
const PROGRAMS: [&str; 5] = ["lxc-start", "lxc-attach", "Xvfb", "nxproxy", "postgres"];
/// How long a killed process may take to be gone.
const GONE_WITHIN: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A process, told from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// Clock ticks from the machine's start to its own.
    started: u64,
}

impl Identity {
    /// From `PID STARTTIME`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// The process that has a number now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; what follows the last one is numbers. The start
        // is the 22nd field, the 20th after the name.
        let (_, rest) = stat.rsplit_once(')')?;
        let started = rest.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

/// Kills the processes of a run, and those that they start meanwhile.
pub(super) fn end(run: &Run) -> Result<()> {
    for _ in 0..10 {
        let mut pids = with_marks(run);
        pids.extend(cgroups::processes(run));
        if pids.is_empty() {
            return Ok(());
        }
        let ended: Vec<OwnedFd> = pids.iter().filter_map(|pid| kill(*pid)).collect();
        for pidfd in &ended {
            let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
            poll(&mut polled, Some(&GONE_WITHIN))?;
        }
    }
    bail!("its processes do not end: {:?}", with_marks(run));
}

/// Kills a process, and returns what becomes readable when it is gone.
fn kill(pid: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Gone already is what was wanted.
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    Some(pidfd)
}

/// Every process that bears the mark of a run in its environment or its arguments.
fn with_marks(run: &Run) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        is_marked(run, &read("environ"), &read("cmdline")) && !is_zombie(*pid)
    })
    .collect()
}

fn is_marked(run: &Run, environment: &[u8], arguments: &[u8]) -> bool {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ours = |word: &str| word.starts_with('/') && run.has(Path::new(word));
    let marked = |variable: &str| {
        variable.split_once('=').is_some_and(|(name, value)| !PLACES.contains(&name) && ours(value))
    };
    if text(environment).split('\0').any(marked) {
        return true;
    }
    let arguments = text(arguments);
    let mut words = arguments.split('\0');
    let program = words.next().unwrap_or_default();
    // A running monitor writes what it watches over its arguments: `[lxc monitor] PATH NAME`.
    if let Some(watched) = program.strip_prefix("[lxc monitor] ") {
        return watched.split(' ').next().is_some_and(ours);
    }
    let name = program.rsplit('/').next().unwrap_or_default();
    (PROGRAMS.contains(&name) || name.starts_with("qvd")) && words.any(ours)
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run { folder: "/tmp/qvd-test-1".into(), prefix: None }
    }

    #[test]
    fn a_process_is_itself_and_not_a_later_one() {
        let me = Identity::of(std::process::id().cast_signed()).unwrap();
        assert!(me.is_alive());
        assert_eq!(Identity::parse(&me.to_string()), Some(me));
        assert!(!Identity { started: me.started + 1, ..me }.is_alive());
        assert_eq!(Identity::parse("12"), None);
    }

    #[test]
    fn marks_are_told_from_what_only_looks_like_them() {
        let marked = |environment: &str, arguments: &str| {
            is_marked(&run(), environment.as_bytes(), arguments.as_bytes())
        };
        assert!(marked("A=1\0QVD_CONFIG=/tmp/qvd-test-1/node.conf\0", "qvd\0all\0"));
        assert!(marked("XAUTHORITY=/tmp/qvd-test-1/authority1\0", "openbox\0"));
        assert!(!marked("A=1\0QVD_CONFIG=/tmp/qvd-test-12/node.conf\0", "qvd\0all\0"));
        assert!(!marked("PWD=/tmp/qvd-test-1\0", "bash\0"));
        assert!(marked("", "Xvfb\0:1\0-auth\0/tmp/qvd-test-1/authority1\0"));
        assert!(marked("", "[lxc monitor] /tmp/qvd-test-1/run/vms t1a-3\0"));
        assert!(marked("", "lxc-start\0-F\0-P\0/tmp/qvd-test-1/run/vms\0"));
        assert!(marked("", "/x/qvd\0hkd\0--config\0/tmp/qvd-test-1/node.conf\0"));
        assert!(!marked("", "/x/qvd\0hkd\0--config\0/tmp/qvd-test-12/node.conf\0"));
        assert!(!marked("", "tail\0-f\0/tmp/qvd-test-1/log\0"));
        assert!(!marked("", ""));
    }
}
