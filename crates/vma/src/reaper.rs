//! The part `init`: process 1 of a guest that needs no services.
//!
//! It only reaps, and ends the guest in good order when it is asked to. The agent is put in as always,
//! and starts what there is to start.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::{
    process::{Pid, Signal, WaitOptions, wait},
    system::{RebootCommand, reboot},
};
use signal_hook::{
    consts::signal::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    command,
    processes::{self, Process},
};

/// What LXC sends an init that it does not know, for a shutdown.
const SIGPWR: i32 = Signal::POWER.as_raw();
/// How long programs have to end when they were asked to.
const ENDED_WITHIN: Duration = Duration::from_secs(10);

/// Runs as process 1, and never returns while it does its work.
pub(crate) fn run() -> anyhow::Result<()> {
    anyhow::ensure!(rustix::process::getpid() == Pid::INIT, "`init` is for process 1 of a guest");
    let mut signals =
        Signals::new([SIGCHLD, SIGPWR, SIGTERM, SIGINT]).context("cannot listen for signals")?;
    loop {
        for signal in signals.wait() {
            match signal {
                SIGCHLD => reap(),
                SIGINT => return end(RebootCommand::Restart),
                _ => return end(RebootCommand::PowerOff),
            }
        }
    }
}

/// Takes note of every process that has ended.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

/// Asks every program to end, ends those that do not, and the guest.
fn end(how: RebootCommand) -> anyhow::Result<()> {
    // Who comes later, such as the agent, which is put in again as long as the guest is there, is not
    // waited for.
    let asked = others();
    signal(&asked, Signal::TERM);
    // One that is stopped hears it when it goes on.
    signal(&asked, Signal::CONT);
    let until = Instant::now() + ENDED_WITHIN;
    for process in &asked {
        let left = until.saturating_duration_since(Instant::now());
        command::ends_within(process.number, left, || lives(process));
    }
    signal(&others(), Signal::KILL);
    reap();
    // In a guest this is the end of process 1 by a signal that tells whoever watches which it was.
    reboot(how).context("the kernel does not end the guest")
}

/// Every process but this one.
fn others() -> Vec<Process> {
    processes::all().into_iter().filter(|process| process.number > 1 && !process.ended).collect()
}

fn lives(process: &Process) -> bool {
    Process::of(process.number).is_some_and(|now| now.started == process.started && !now.ended)
}

fn signal(all: &[Process], signal: Signal) {
    for process in all {
        command::signal(process.number, signal, || lives(process));
    }
}
