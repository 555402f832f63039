//! The process that keeps a session: one thread around one `poll`.
//!
//! It runs as the user, inside the login that the guest's own machinery made, and outlives every
//! client and every agent. When it ends, everything of the session has ended.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, flock},
    process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait},
};
use signal_hook::{consts, low_level::pipe};
use wire::{
    agent::{Ask, Tell, VERSION, failure},
    session::Parameters,
};

use super::{
    CONTROL,
    control::Control,
    cut::cut,
    desktop,
    ending::{self, Ending},
    machine::{Machine, Outlook, Place, Step, Want},
    nxagent::{Nxagent, Setting},
    options,
    wishes::{Kind, Wish, Wishes},
    xauthority,
};
use crate::{arguments, processes};

/// A session that nobody came for, and nobody waits for, ends after this long.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// The part `session --folder F --display N --program P --nxagent P --desktop P`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let mut supervisor = Supervisor::new(arguments)?;
    while supervisor.ending != Some(Ending::Over) {
        supervisor.wait().context("cannot wait for the session")?;
        supervisor.reap();
        supervisor.hear();
        for (of, ask) in supervisor.control.asks() {
            supervisor.answer(of, ask);
        }
        supervisor.advance();
    }
    supervisor.clean_up();
    Ok(())
}

struct Supervisor {
    folder: PathBuf,
    display: u16,
    /// Ourselves, where `nxagent` can start us.
    program: PathBuf,
    nxagent_program: PathBuf,
    desktop_program: PathBuf,
    /// Held as long as we live: there is one supervisor.
    _lock: File,
    control: Control,
    signals: Signals,
    /// Children of the login's, such as PAM's, which are not ours to end.
    spared: Vec<u32>,
    machine: Machine,
    wishes: Wishes,
    parameters: Parameters,
    nxagent: Option<Nxagent>,
    problems: String,
    desktop: Option<Pid>,
    desktop_began: bool,
    ending: Option<Ending>,
    /// Who waits for the end.
    mourners: Vec<u64>,
}

/// The signals that wake the loop.
struct Signals {
    child: UnixStream,
    end: UnixStream,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |signals: &[i32]| {
            let (ours, theirs) = UnixStream::pair()?;
            for signal in signals {
                pipe::register(*signal, theirs.try_clone()?)?;
            }
            ours.set_nonblocking(true)?;
            Ok::<_, io::Error>(ours)
        };
        Ok(Self {
            child: listen(&[consts::SIGCHLD])?,
            end: listen(&[consts::SIGTERM, consts::SIGINT, consts::SIGHUP])?,
        })
    }

    /// Whether any came on this one since the last time.
    fn came(mut stream: &UnixStream) -> bool {
        let mut buffer = [0; 64];
        let mut any = false;
        while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
            any = true;
        }
        any
    }
}

impl Supervisor {
    fn new(arguments: &[String]) -> anyhow::Result<Self> {
        let folder: PathBuf = arguments::value(arguments, "--folder")?;
        let spared =
            processes::children(std::process::id()).into_iter().map(|child| child.number).collect();
        let lock = File::create(folder.join("lock")).context("cannot make the session's lock")?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .context("this user has a session already")?;
        // Programs of the desktop whose parents end become our children: at the end none is missed.
        set_child_subreaper(Some(rustix::process::getpid()))
            .context("cannot become the session's reaper")?;
        let signals = Signals::new().context("cannot listen to signals")?;
        let display = arguments::value(arguments, "--display")?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let authority = xauthority::content(&host, display, &xauthority::cookie()?);
        options::write(&folder.join("Xauthority"), &authority)
            .context("cannot write the X authority file")?;
        fs::create_dir_all(folder.join("nx")).context("cannot make the folder of nxagent")?;
        let control =
            Control::listen(&folder.join(CONTROL)).context("cannot make the control socket")?;
        Ok(Self {
            display,
            program: arguments::value(arguments, "--program")?,
            nxagent_program: arguments::value(arguments, "--nxagent")?,
            desktop_program: arguments::value(arguments, "--desktop")?,
            folder,
            _lock: lock,
            control,
            signals,
            spared,
            machine: Machine::new(Instant::now()),
            wishes: Wishes::default(),
            parameters: Parameters::default(),
            nxagent: None,
            problems: String::new(),
            desktop: None,
            desktop_began: false,
            ending: None,
            mourners: Vec::new(),
        })
    }

    /// Until something happens, or it is time to look again.
    fn wait(&self) -> io::Result<()> {
        let mut waits = self.control.waits();
        waits.push(PollFd::new(&self.signals.child, PollFlags::IN));
        waits.push(PollFd::new(&self.signals.end, PollFlags::IN));
        if let Some(nxagent) = &self.nxagent {
            waits.push(PollFd::from_borrowed_fd(nxagent.output(), PollFlags::IN));
        }
        let timeout = self.look_again().and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn look_again(&self) -> Option<Duration> {
        if self.ending.is_some() {
            return Some(Duration::from_millis(50));
        }
        let idle = !self.machine.begun() && self.machine.place() == Place::Absent;
        self.machine.look_again().or_else(|| idle.then_some(Duration::from_secs(1)))
    }

    /// Takes note of who has ended.
    fn reap(&mut self) {
        if Signals::came(&self.signals.end) {
            self.end();
        }
        Signals::came(&self.signals.child);
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            if self.nxagent.as_ref().is_some_and(|nxagent| nxagent.pid() == pid) {
                // What it said last comes before its end.
                self.hear();
                if let Some(nxagent) = self.nxagent.take() {
                    self.problems = nxagent.problems();
                    self.machine.exited(Instant::now(), nxagent.waited());
                    // Its helper, if it was killed in the middle, would keep the display.
                    nxagent.kill();
                }
                if self.machine.begun() {
                    self.end();
                }
            } else if self.desktop == Some(pid) {
                self.desktop = None;
                self.end();
            }
        }
    }

    /// Takes note of what `nxagent` says.
    fn hear(&mut self) {
        let Some(nxagent) = &mut self.nxagent else { return };
        let (said, _) = nxagent.listen();
        for each in said {
            if let super::line::Said::Problem(text) = &each {
                diary(format_args!("nxagent: {text}"));
            }
            self.machine.heard(&each, Instant::now());
            self.control.publish(self.session());
        }
    }

    fn answer(&mut self, of: u64, ask: Ask) {
        let now = Instant::now();
        match ask {
            Ask::Hello => {
                self.control.tell(of, &Tell::Hello { version: VERSION, prepared: true });
            }
            Ask::Follow => {
                self.control.follow(of);
                self.control.publish(self.session());
            }
            Ask::End => {
                self.mourners.push(of);
                self.end();
            }
            Ask::Start { .. } | Ask::Open | Ask::Suspend if self.ending.is_some() => {
                self.fail(of, "the session is ending");
            }
            Ask::Start { parameters } => {
                self.parameters = parameters;
                self.progress(of);
                self.wish(of, Kind::Start, now);
            }
            Ask::Open => {
                let control = &self.control;
                if self.wishes.may_open(of, |other| control.has(other)) {
                    self.wish(of, Kind::Open, now);
                } else {
                    self.taken(of);
                }
            }
            Ask::Suspend => self.wish(of, Kind::Suspend, now),
            Ask::Prepare(_) | Ask::PowerOff => self.fail(of, "this is not for the session"),
        }
    }

    fn progress(&mut self, of: u64) {
        let text = match self.machine.place() {
            Place::Absent | Place::Starting => "Starting the desktop",
            Place::Suspended | Place::Waiting => "Resuming the desktop",
            _ => "Taking the desktop over from another client",
        };
        self.control.tell(of, &Tell::Progress { text: text.to_owned() });
    }

    fn wish(&mut self, of: u64, kind: Kind, now: Instant) {
        for ousted in self.wishes.add(of, kind, now) {
            self.taken(ousted.of);
        }
        self.machine.want(kind.want(), now);
    }

    fn fail(&mut self, of: u64, text: &str) {
        let code = failure::SESSION_FAILED.to_owned();
        self.control.tell(of, &Tell::Failed { code, text: text.to_owned() });
    }

    fn taken(&mut self, of: u64) {
        let code = failure::SESSION_TAKEN.to_owned();
        let text = "another client has taken the session".to_owned();
        self.control.tell(of, &Tell::Failed { code, text });
    }

    /// Does what is to be done now.
    fn advance(&mut self) {
        self.give_up_waiting();
        loop {
            self.settle();
            let now = Instant::now();
            let step = self.machine.next(now);
            self.machine.did(step, now);
            self.perform(step, now);
            if step != Step::Spawn {
                break;
            }
        }
        if self.machine.place() == Place::Up && !self.desktop_began && self.ending.is_none() {
            self.begin_desktop();
        }
        self.proceed_to_the_end();
        self.control.publish(self.session());
    }

    fn session(&self) -> wire::agent::Session {
        match self.ending {
            Some(_) => wire::agent::Session::Ending,
            None => self.machine.session(),
        }
    }

    /// Answers those whose wish is fulfilled or hopeless.
    fn settle(&mut self) {
        let now = Instant::now();
        match self.machine.outlook() {
            Outlook::Pending => {}
            Outlook::Fulfilled => {
                for wish in self.wishes.take() {
                    self.fulfil(wish, now);
                }
                if self.wishes.is_empty() {
                    self.machine.want(Want::Nothing, now);
                }
            }
            Outlook::Hopeless => {
                let text = match self.problems.as_str() {
                    "" => "nxagent ended at once".to_owned(),
                    problems => format!("nxagent ended: {problems}"),
                };
                for wish in self.wishes.take() {
                    self.fail(wish.of, &text);
                }
                self.machine.want(Want::Nothing, now);
            }
        }
    }

    fn fulfil(&mut self, wish: Wish, now: Instant) {
        match wish.kind {
            Kind::Start => self.control.tell(wish.of, &Tell::Listening),
            Kind::Suspend => self.control.tell(wish.of, &Tell::Done),
            Kind::Open => match UnixStream::connect(self.socket()) {
                // When nobody takes it, nxagent notices that its client has gone.
                Ok(stream) => {
                    self.control.give(wish.of, &Tell::Opened, stream.as_fd());
                    self.machine.opened(now);
                }
                // It is about to tell us that it waits no more.
                Err(_) => self.wishes.put_back(wish),
            },
        }
    }

    fn give_up_waiting(&mut self) {
        let control = &self.control;
        let overdue = self.wishes.overdue(Instant::now(), |of| control.has(of));
        for wish in overdue {
            self.fail(wish.of, "nxagent does not do as it is told");
        }
        if self.wishes.is_empty() && self.machine.outlook() != Outlook::Pending {
            self.machine.want(Want::Nothing, Instant::now());
        }
    }

    fn perform(&mut self, step: Step, now: Instant) {
        if matches!(step, Step::Spawn | Step::Hangup)
            && let Err(error) = self.write_options()
        {
            diary(format_args!("cannot write the options of nxagent: {error}"));
        }
        match (step, &self.nxagent) {
            (Step::Spawn, _) => {
                self.problems.clear();
                match self.spawn() {
                    Ok(nxagent) => {
                        self.nxagent = Some(nxagent);
                        self.machine.spawned(now);
                    }
                    Err(error) => {
                        self.problems = format!("it cannot be started: {error}");
                        self.machine.exited(now, false);
                    }
                }
            }
            (Step::Hangup, Some(nxagent)) => nxagent.signal(Signal::HUP),
            (Step::Wake, Some(nxagent)) => nxagent.signal(Signal::PIPE),
            (Step::Terminate, Some(nxagent)) => nxagent.signal(Signal::TERM),
            (Step::Kill, Some(nxagent)) => nxagent.kill(),
            (Step::Cut, Some(nxagent)) => {
                if let Err(error) = cut(nxagent.pid(), &self.socket()) {
                    diary(format_args!("cannot cut the client's connection: {error}"));
                }
            }
            _ => {}
        }
    }

    fn spawn(&self) -> io::Result<Nxagent> {
        // An nxagent that was killed leaves its socket, and the next cannot listen there.
        let _ = fs::remove_file(self.socket());
        Nxagent::start(&Setting {
            program: &self.nxagent_program,
            display: self.display,
            options: &self.folder.join("options"),
            authority: &self.folder.join("Xauthority"),
            root: &self.folder.join("nx"),
            dialog: &self.program,
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("nx.sock")
    }

    fn write_options(&self) -> io::Result<()> {
        let line = options::line(&self.parameters, &self.socket(), self.display);
        options::write(&self.folder.join("options"), line.as_bytes())
    }

    fn begin_desktop(&mut self) {
        self.desktop_began = true;
        let authority = self.folder.join("Xauthority");
        match desktop::start(&self.desktop_program, self.display, &authority) {
            Ok(pid) => self.desktop = Some(pid),
            Err(error) => {
                let program = self.desktop_program.display();
                diary(format_args!("cannot start the desktop {program}: {error}"));
                self.end();
            }
        }
    }

    /// Begins the end, unless it has begun.
    fn end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        for wish in self.wishes.take() {
            self.fail(wish.of, "the session is ending");
        }
        if let Some(desktop) = self.desktop {
            let _ = kill_process(desktop, Signal::TERM);
        }
        self.ending = Some(Ending::Desktop(Instant::now()));
    }

    fn proceed_to_the_end(&mut self) {
        let idle = !self.machine.begun()
            && self.machine.place() == Place::Absent
            && self.wishes.is_empty()
            && self.machine.entered().elapsed() >= IDLE_MAX;
        if idle {
            self.end();
        }
        let Some(ending) = self.ending else { return };
        let now = Instant::now();
        let left = match ending {
            Ending::Desktop(_) => Vec::new(),
            _ => ending::left(&self.spared),
        };
        let rest = left.iter().any(|child| {
            self.nxagent
                .as_ref()
                .is_none_or(|nxagent| nxagent.pid().as_raw_pid().cast_unsigned() != *child)
        });
        let next = ending.next(now, self.desktop.is_some(), self.nxagent.is_some(), rest);
        match next {
            Ending::Nxagent if next != ending => self.machine.want(Want::End, now),
            Ending::Rest(_) => ending::tell(&left, next.signal(now)),
            _ => {}
        }
        self.ending = Some(next);
    }

    /// Everything has ended: nothing of the session stays, and who waited for that is told.
    fn clean_up(&mut self) {
        for name in [CONTROL, "nx.sock", "options", "Xauthority"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        let _ = fs::remove_dir_all(self.folder.join("nx"));
        self.control.publish(wire::agent::Session::None);
        for mourner in std::mem::take(&mut self.mourners) {
            self.control.tell(mourner, &Tell::Done);
        }
    }
}

/// Goes to the login's journal.
fn diary(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
