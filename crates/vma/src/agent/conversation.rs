//! One connection of hkd's: questions and answers in turn.

use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::PoisonError,
    time::Duration,
};

use wire::agent::{Ask, Guest, Tell, VERSION, failure};
use wire::session::Parameters;

use super::{Agent, progress};
use crate::{
    guest, init, log,
    peer::{Peer, PeerError},
    session::{door, launch},
};

/// Longer than a supervisor lets anyone wait.
const PATIENCE: Duration = Duration::from_secs(75);
/// How often hkd is told again what is waited for. After a minute without a word it gives up.
const REPEAT: Duration = Duration::from_secs(10);

/// Serves `stream` until hkd closes it.
pub(super) fn hold(agent: &Agent, stream: UnixStream) -> Result<(), PeerError> {
    let mut conversation = Conversation { agent, hkd: Peer::new(stream)?, session: None };
    while let Some((ask, _)) = conversation.hkd.receive()? {
        conversation.answer(ask)?;
    }
    Ok(())
}

struct Conversation<'a> {
    agent: &'a Agent,
    hkd: Peer,
    /// The supervisor, from the first question about the session on: it knows by this connection
    /// whose turn it is.
    session: Option<Peer>,
}

impl Conversation<'_> {
    fn answer(&mut self, ask: Ask) -> Result<(), PeerError> {
        match ask {
            Ask::Hello => {
                let prepared = self.user().is_some();
                self.hkd.send(&Tell::Hello { version: VERSION, prepared })
            }
            Ask::Prepare(guest) => {
                let answer = self.prepare(guest);
                self.hkd.send(&answer)
            }
            Ask::Start { parameters } => self.start(parameters),
            Ask::Open => self.open(),
            Ask::Suspend | Ask::End => self.pass(&ask),
            Ask::PowerOff => {
                log::line("shutting the guest down");
                let answer = match init::power_off() {
                    Ok(()) => Tell::Done,
                    Err(error) => failed(failure::STEP_FAILED, &error.to_string()),
                };
                self.hkd.send(&answer)
            }
            Ask::Follow => self.agent.watch.tell(&mut self.hkd),
        }
    }

    fn user(&self) -> Option<wire::agent::GuestUser> {
        self.agent.user.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn prepare(&self, guest: Guest) -> Tell {
        let _busy = self.agent.busy();
        match guest::prepare(&guest) {
            Ok(()) => {
                let mut user = self.agent.user.lock().unwrap_or_else(PoisonError::into_inner);
                *user = Some(guest.user);
                Tell::Done
            }
            Err(error) => {
                log::line(&error);
                error.tell()
            }
        }
    }

    fn start(&mut self, parameters: Parameters) -> Result<(), PeerError> {
        if let Err(answer) = self.reach() {
            return self.hkd.send(&answer);
        }
        self.agent.watch.look();
        self.put(&Ask::Start { parameters })
    }

    /// Makes sure that we speak with a supervisor.
    fn reach(&mut self) -> Result<(), Tell> {
        if self.session.as_ref().is_some_and(|session| !session.has_closed()) {
            return Ok(());
        }
        let Some(user) = self.user() else {
            // A session of before this agent's time can go on without it.
            self.session = knock()?;
            let text = "the guest has not been prepared for its user";
            let missing = || failed(failure::STEP_FAILED, text);
            return self.session.as_ref().map(|_| ()).ok_or_else(missing);
        };
        let (agent, hkd) = (self.agent, &mut self.hkd);
        let launch = |progress: &mut dyn FnMut(&str)| {
            let _busy = agent.busy();
            launch::reach(&user, progress)
        };
        let mut tell = |text: &str| {
            // Whether hkd still listens shows when it gets the answer.
            let _ = hkd.send(&Tell::Progress { text: text.to_owned() });
        };
        let reached = progress::repeated("Reaching the session", REPEAT, launch, &mut tell);
        let reached = reached.map_err(|error| {
            failed(failure::STEP_FAILED, &format!("the guest has no room for a thread: {error}"))
        })?;
        self.session = Some(reached.map_err(|error| {
            log::line(&error);
            error.tell()
        })?);
        Ok(())
    }

    fn open(&mut self) -> Result<(), PeerError> {
        if self.session.is_none() {
            match knock() {
                Ok(session) => self.session = session,
                Err(answer) => return self.hkd.send(&answer),
            }
        }
        if self.session.is_none() {
            return self.hkd.send(&failed(failure::SESSION_FAILED, "there is no session"));
        }
        self.put(&Ask::Open)
    }

    /// Passes a wish on that is fulfilled where there is no session.
    fn pass(&mut self, ask: &Ask) -> Result<(), PeerError> {
        match knock() {
            Ok(Some(session)) => {
                self.session = Some(session);
                self.put(ask)
            }
            Ok(None) => self.hkd.send(&Tell::Done),
            Err(answer) => self.hkd.send(&answer),
        }
    }

    /// Puts a question to the supervisor and passes on what it says, to the answer.
    fn put(&mut self, ask: &Ask) -> Result<(), PeerError> {
        let answer = self.put_and_pass(ask);
        if let Err(Trouble::Session(error)) = answer {
            self.session = None;
            log::line(format_args!("the session does not answer: {error}"));
            return self.hkd.send(&failed(failure::SESSION_FAILED, "the session has ended"));
        }
        match answer {
            Err(Trouble::Hkd(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn put_and_pass(&mut self, ask: &Ask) -> Result<(), Trouble> {
        let session = self.session.as_mut().ok_or(Trouble::Session(PeerError::Gone))?;
        session.set_patience(Some(PATIENCE)).map_err(|error| Trouble::Session(error.into()))?;
        session.send(ask).map_err(Trouble::Session)?;
        loop {
            let heard = session.receive().map_err(Trouble::Session)?;
            let passed = match heard.ok_or(Trouble::Session(PeerError::Gone))? {
                (tell @ Tell::Progress { .. }, _) => {
                    self.hkd.send(&tell).map_err(Trouble::Hkd)?;
                    continue;
                }
                (Tell::Opened, Some(connection)) => {
                    self.hkd.send_with(&Tell::Opened, connection.as_fd())
                }
                (Tell::Opened, None) => return Err(Trouble::Session(PeerError::Gone)),
                (tell, _) => self.hkd.send(&tell),
            };
            return passed.map_err(Trouble::Hkd);
        }
    }
}

/// Which side broke off.
enum Trouble {
    Session(PeerError),
    Hkd(PeerError),
}

/// A conversation with the supervisor, if there is one; or what hkd is to be told.
fn knock() -> Result<Option<Peer>, Tell> {
    door::knock_anywhere().map_err(|error| {
        let text = format!("the session in the guest is out of reach: {error}");
        log::line(&text);
        failed(failure::STEP_FAILED, &text)
    })
}

fn failed(code: &str, text: &str) -> Tell {
    Tell::Failed { code: code.to_owned(), text: text.to_string() }
}
