//! One run of `nxagent`.

use std::{
    io::{self, PipeReader, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::Stdio,
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process, kill_process_group},
};

use super::line::{Cutter, Said, parse};
use crate::command;

/// What is needed to start one.
#[derive(Clone, Debug)]
pub(crate) struct Setting<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// The X display.
    pub(crate) display: u16,
    /// The file of options.
    pub(crate) options: &'a Path,
    /// The X authority file.
    pub(crate) authority: &'a Path,
    /// Where it may keep files of its own.
    pub(crate) root: &'a Path,
    /// What it runs where it would show a dialog.
    pub(crate) dialog: &'a Path,
}

/// A running `nxagent`, in a process group of its own.
#[derive(Debug)]
pub(crate) struct Nxagent {
    pid: Pid,
    output: PipeReader,
    cutter: Cutter,
    waited: bool,
    problems: Vec<String>,
}

impl Nxagent {
    /// Starts it. It is our child and must be reaped.
    pub(crate) fn start(setting: &Setting<'_>) -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        let display = format!(":{}", setting.display);
        let child = command::program(setting.program)
            .args([&display, "-nolisten", "tcp", "-noreset", "-name", "QVD", "-auth"])
            .arg(setting.authority)
            .arg("-display")
            .arg(format!("nx/nx,options={}{display}", setting.options.display()))
            .envs(std::env::vars_os())
            .env("NX_CLIENT", setting.dialog)
            .env("NX_ROOT", setting.root)
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .process_group(0)
            .spawn()?;
        fcntl_setfl(&output, OFlags::NONBLOCK)?;
        let pid = command::pid(child.id()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { pid, output, cutter: Cutter::default(), waited: false, problems: Vec::new() })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when it says something.
    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Whether it ever came to wait for a client.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }

    /// What went wrong, in its own words: the first things, which are the causes.
    pub(crate) fn problems(&self) -> String {
        self.problems.join("; ")
    }

    /// Everything it has said by now. The second part says whether it may say more.
    pub(crate) fn listen(&mut self) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => return (said, false),
                Ok(read) => {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    said.extend(self.cutter.push(bytes).iter().filter_map(|line| parse(line)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.note(&said);
                    return (said, error.kind() == io::ErrorKind::WouldBlock);
                }
            }
            self.note(&said);
        }
    }

    fn note(&mut self, said: &[Said]) {
        for each in said {
            match each {
                Said::Waiting => self.waited = true,
                Said::Problem(text) if self.problems.len() < 3 && !self.problems.contains(text) => {
                    self.problems.push(text.clone());
                }
                _ => {}
            }
        }
    }

    /// Sends it a signal. It is our child and not reaped yet, so the number is its own.
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself: then the signal is not needed.
        let _ = kill_process(self.pid, signal);
    }

    /// Kills it and its helpers: one of them holds the display while it waits for a client.
    pub(crate) fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}
