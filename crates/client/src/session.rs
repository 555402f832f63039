//! Connects to a desktop, resumes it when the connection is lost, and knows when it is over.
//!
//! Who closes first tells what happened. When a session ends or is suspended, by its user or by an
//! administrator, nxagent takes its leave of nxproxy within the NX protocol; nxproxy closes, and the
//! agent a tenth of a second after it. When anything between the two breaks, nxproxy is the one that
//! finds its connection closed. (Measured with nx-libs 3.5.99.26: HUP and TERM to the agent, and a
//! cut connection.) So:
//!
//! | closed first | means | what we do |
//! |---|---|---|
//! | nxproxy | ended or suspended, or the window's X server is gone | end |
//! | the server or the network | lost | ask for the list; see below |
//!
//! A lost connection is resumed only to a desktop that still runs or starts: the list is asked for
//! first, because connecting would start one that somebody stopped. The request to resume names the
//! lost connection; the server refuses it (409) when another client has come since.

use std::{
    env,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use crate::{
    command,
    failure::Failure,
    keyboard,
    options::Options,
    progress::Progress,
    proxy::Proxy,
    relay::{End, relay},
    server::{Attached, Server, Vm},
};

/// The first pause before a lost connection is resumed; it doubles up to [`SLOW`] at first, and up to
/// [`SLOWEST`] when the loss is no longer [`YOUNG`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause while a server that was started anew can be hoped for: its desktops are to be back
/// as soon as it is.
const SLOW: Duration = Duration::from_secs(1);

/// How long that is hoped for.
const YOUNG: Duration = Duration::from_mins(1);

/// The longest pause between two attempts to resume.
const SLOWEST: Duration = Duration::from_secs(10);

/// Whether this machine can show a desktop.
pub(crate) fn check_machine() -> Result<(), Failure> {
    if env::var_os("DISPLAY").is_none_or(|display| display.is_empty()) {
        let text = "DISPLAY is not set: start this in a graphical session";
        return Err(Failure::Local(text.to_owned()));
    }
    if command::find("nxproxy").is_none() {
        let text = "nxproxy is not installed: install the package nxproxy";
        return Err(Failure::Local(text.to_owned()));
    }
    Ok(())
}

/// The desktop meant: the one named, or the only one, or the one the person chooses.
pub(crate) fn choose(vms: &[Vm], wanted: Option<&str>) -> Result<Vm, Failure> {
    if let Some(wanted) = wanted {
        let named = |vm: &&Vm| vm.name == wanted;
        let numbered = |vm: &&Vm| vm.id.to_string() == wanted;
        let found = vms.iter().find(named).or_else(|| vms.iter().find(numbered)).cloned();
        return found.ok_or_else(|| {
            Failure::NoDesktop(format!("you have no desktop `{wanted}`; see --list"))
        });
    }
    match vms {
        [] => Err(Failure::NoDesktop("you have no desktop".to_owned())),
        [only] => Ok(only.clone()),
        several => ask_which(several),
    }
}

fn ask_which(vms: &[Vm]) -> Result<Vm, Failure> {
    let names: Vec<&str> = vms.iter().map(|vm| vm.name.as_str()).collect();
    let several = || {
        let text = format!("you have several desktops, name one with --vm: {}", names.join(", "));
        Failure::NoDesktop(text)
    };
    if !io::stdin().is_terminal() {
        return Err(several());
    }
    let mut err = io::stderr();
    for vm in vms {
        writeln!(err, "{:>6}  {} ({})", vm.id, vm.name, vm.state).ok();
    }
    write!(err, "Which one? ").and_then(|()| err.flush()).ok();
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|_| several())?;
    choose(vms, Some(line.trim()))
}

/// Stops a desktop.
pub(crate) fn stop(server: &mut Server, vm: &Vm) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let stopped = server.stop(vm.id, &mut |text| progress.say(text));
    progress.done();
    let text = stopped?;
    writeln!(io::stderr(), "{}: {text}", vm.name).ok();
    Ok(())
}

/// Shows a desktop until it is over.
pub(crate) fn run(server: &mut Server, vm: &Vm, options: &Options) -> Result<(), Failure> {
    let wishes = wishes(vm, options);
    let query: Vec<(&str, &str)> =
        wishes.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut progress = Progress::new();
    progress.say(&format!("Connecting to {}", vm.name));
    let mut attached = server.connect(&query, &mut |text| progress.say(text));
    loop {
        let key = match attached {
            Ok(attached) => match show(attached, progress, options.verbose)? {
                (End::Proxy, _) => return Ok(()),
                (End::Server, key) => key,
            },
            Err(failure) => {
                progress.done();
                return Err(failure);
            }
        };
        if options.no_reconnect {
            return Err(Failure::Lost("it was not to be resumed".to_owned()));
        }
        progress = Progress::new();
        progress.say("Connection lost, resuming");
        let resuming = Resuming { query: &query, key: &key, vm, most: options.retry_for };
        attached = match resuming.run(server, &mut progress) {
            Ok(Some(attached)) => Ok(attached),
            Ok(None) => {
                progress.done();
                writeln!(io::stderr(), "{} was stopped", vm.name).ok();
                return Ok(());
            }
            Err(failure) => Err(failure),
        };
    }
}

/// What is asked of the desktop, as query parameters.
fn wishes(vm: &Vm, options: &Options) -> Vec<(&'static str, String)> {
    let keyboard = options.keyboard.clone().unwrap_or_else(keyboard::detect);
    let mut wishes = vec![
        ("id", vm.id.to_string()),
        ("qvd.client.os", "linux".to_owned()),
        ("qvd.client.keyboard", keyboard.to_string()),
        ("qvd.client.link", options.link.to_string()),
        ("qvd.client.fullscreen", u8::from(options.fullscreen).to_string()),
    ];
    if let Some(geometry) = options.geometry {
        wishes.push(("qvd.client.geometry", geometry.to_string()));
    }
    wishes
}

/// Shows a desktop until either side closes; the connection's name is for resuming.
fn show(
    attached: Attached,
    mut progress: Progress,
    verbose: bool,
) -> Result<(End, String), Failure> {
    let Attached { mut stream, first, key } = attached;
    progress.say("Starting nxproxy");
    let (mut proxy, mut local) = Proxy::start(verbose, move || progress.done())?;
    let end = relay(&mut stream, &mut local, first)
        .map_err(|error| Failure::Local(format!("cannot carry the session's bytes: {error}")))?;
    drop(local);
    if end == End::Proxy && !proxy.established() {
        return Err(proxy.explain("nxproxy could not show the desktop"));
    }
    proxy.finish();
    Ok((end, key))
}

/// A lost connection.
struct Resuming<'a> {
    query: &'a [(&'a str, &'a str)],
    key: &'a str,
    vm: &'a Vm,
    /// Seconds.
    most: u64,
}

impl Resuming<'_> {
    /// Tries until the desktop is back, or is over (none), or nothing can be hoped for.
    fn run(
        &self,
        server: &mut Server,
        progress: &mut Progress,
    ) -> Result<Option<Attached>, Failure> {
        let lost = Instant::now();
        let deadline = lost + Duration::from_secs(self.most);
        let mut pause = FIRST_PAUSE;
        loop {
            thread::sleep(pause);
            match self.attempt(server, progress) {
                Err(failure) if failure.may_pass() => {
                    if Instant::now() + pause >= deadline {
                        return Err(Failure::Lost(failure.to_string()));
                    }
                    progress.say(&format!("Connection lost, resuming: {failure}"));
                    let longest = if lost.elapsed() < YOUNG { SLOW } else { SLOWEST };
                    pause = (pause * 2).min(longest);
                }
                outcome => return outcome,
            }
        }
    }

    fn attempt(
        &self,
        server: &mut Server,
        progress: &mut Progress,
    ) -> Result<Option<Attached>, Failure> {
        let vms = server.list()?;
        let Some(vm) = vms.iter().find(|vm| vm.id == self.vm.id) else {
            return Err(Failure::NoDesktop(format!("{} is no longer yours", self.vm.name)));
        };
        if matches!(vm.state.as_str(), "stopped" | "stopping") {
            return Ok(None);
        }
        let mut query = self.query.to_vec();
        query.push(("resume", self.key));
        server.connect(&query, &mut |text| progress.say(text)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: i64, name: &str) -> Vm {
        Vm { id, name: name.to_owned(), state: "running".to_owned(), blocked: 0 }
    }

    #[test]
    fn a_desktop_is_meant_by_name_then_by_number() {
        let vms = [vm(1, "work"), vm(2, "1"), vm(3, "home")];
        let meant = |wanted| choose(&vms, Some(wanted)).map(|vm| vm.id);
        assert_eq!(meant("home"), Ok(3));
        assert_eq!(meant("1"), Ok(2));
        assert_eq!(meant("3"), Ok(3));
        assert!(matches!(meant("none"), Err(Failure::NoDesktop(_))));
        assert_eq!(choose(&[vm(5, "only")], None).map(|vm| vm.id), Ok(5));
        assert!(matches!(choose(&[], None), Err(Failure::NoDesktop(_))));
    }
}
