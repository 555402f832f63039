//! Knows where the session is, and tells whoever follows.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use wire::agent::{Ask, Session, Tell};

use crate::{
    peer::{Peer, PeerError},
    session::door,
};

/// How often we look for a session that began without us.
const LOOK: Duration = Duration::from_secs(5);

/// Where the session is, as far as is known.
#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    session: Session,
    /// Someone knows that there is a session now.
    look: bool,
}

impl Default for Watch {
    fn default() -> Self {
        let state = Mutex::new(State { session: Session::None, look: false });
        Self { state, changed: Condvar::new() }
    }
}

impl Watch {
    /// There is a session now: look at once.
    pub(super) fn look(&self) {
        self.state().look = true;
        self.changed.notify_all();
    }

    /// Follows one session after the other. Does not return.
    pub(super) fn run(&self) {
        loop {
            if let Ok(Some(mut peer)) = door::knock_anywhere() {
                // However it ended, there is no session there any more, or the next look finds it.
                let _ = self.follow(&mut peer);
                self.set(Session::None);
            }
            let state = self.state();
            let waited = self.changed.wait_timeout_while(state, LOOK, |state| !state.look);
            waited.unwrap_or_else(PoisonError::into_inner).0.look = false;
        }
    }

    fn follow(&self, peer: &mut Peer) -> Result<(), PeerError> {
        peer.send(&Ask::Follow)?;
        while let Some((tell, _)) = peer.receive()? {
            if let Tell::State { session } = tell {
                self.set(session);
            }
        }
        Ok(())
    }

    fn set(&self, session: Session) {
        self.state().session = session;
        self.changed.notify_all();
    }

    /// Tells `peer` now and at every change, until it goes.
    pub(super) fn tell(&self, peer: &mut Peer) -> Result<(), PeerError> {
        let mut told = None;
        while !peer.has_closed() {
            let session = self.news(told);
            if told != Some(session) {
                peer.send(&Tell::State { session })?;
                told = Some(session);
            }
        }
        Ok(())
    }

    /// Where the session is, once that differs from `told`, or after a while.
    fn news(&self, told: Option<Session>) -> Session {
        let old = |state: &mut State| Some(state.session) == told;
        let waited = self.changed.wait_timeout_while(self.state(), LOOK, old);
        waited.unwrap_or_else(PoisonError::into_inner).0.session
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
