//! Where `nxagent` is, and the next thing to do to bring it where it is wanted. Pure: time is an
//! argument, and nothing is done here.
//!
//! ```text
//!            spawn              client          agreed
//! Absent ──> Starting ──> Waiting ──> Negotiating ──> Up
//!                ^           │ HUP, or the client goes │ │ HUP, or the client goes
//!                │           v                         v v
//!                └── HUP ── Suspended <──────── Suspending
//! ```
//!
//! Until it was `Up` once, whatever breaks off its waiting ends it: there is nothing to lose then.
//! Four habits of `nxagent` (3.5.99) shape the rules: a signal within some 50 ms of its last change may be
//! lost; while it waits for its client the programs of the desktop stand still; of a client that connects
//! and says nothing it never tires; and while it agrees with its client it may fall asleep for five
//! seconds over a message that it has not sent, out of which a signal wakes it.

use std::time::{Duration, Instant};

use wire::agent::Session;

use super::line::Said;

/// A signal without effect is sent again after this long.
const AGAIN: Duration = Duration::from_millis(300);
/// For this long after a suspension `nxagent` is deaf.
const DEAF: Duration = Duration::from_millis(100);
/// A client that does not let go in good order is cut off after this long. So is one whose router died:
/// that it is gone shows in nothing else, and its next connection waits for this.
const ORDERLY: Duration = Duration::from_secs(1);
/// How long a resume may keep the desktop's programs standing still.
const WAITING_MAX: Duration = Duration::from_secs(10);
/// How long a session without programs waits for its first client.
const FIRST_WAITING_MAX: Duration = Duration::from_mins(5);
/// How long a client may take to agree with `nxagent`.
const NEGOTIATING_MAX: Duration = Duration::from_mins(1);
/// How soon one that agrees with its client is woken, and how often.
const WAKE: Duration = Duration::from_millis(100);
/// How long `nxagent` may take to start.
const STARTING_MAX: Duration = Duration::from_secs(20);
/// How long `nxagent` may take to end.
const ENDING_MAX: Duration = Duration::from_secs(8);

/// Where `nxagent` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not running.
    Absent,
    /// On its way to waiting.
    Starting,
    /// Waiting for its one connection.
    Waiting,
    /// Has its connection and agrees with the other side.
    Negotiating,
    /// A client is attached.
    Up,
    /// Letting go of the client.
    Suspending,
    /// Running without a client.
    Suspended,
    /// On its way out.
    Ending,
}

/// Where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// It may go its own way.
    Nothing,
    /// Waiting for a new client.
    Listen,
    /// Without a client.
    Suspend,
    /// Gone.
    End,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing but wait.
    Wait,
    /// Start `nxagent`.
    Spawn,
    /// SIGHUP: toggles between with and without client.
    Hangup,
    /// SIGPIPE: its handler does nothing, and so it is only woken. Those of other signals do something; that of
    /// SIGCHLD even takes it down while its connection is only just being made.
    Wake,
    /// SIGTERM.
    Terminate,
    /// Shut the client's connection down.
    Cut,
    /// SIGKILL.
    Kill,
}

/// How a wish stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// It is so.
    Fulfilled,
    /// It is on its way.
    Pending,
    /// It cannot be any more.
    Hopeless,
}

/// The whole of what is known.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    place: Place,
    entered: Instant,
    want: Want,
    wanted: Instant,
    nudged: Option<Instant>,
    begun: bool,
    failed: bool,
}

impl Machine {
    /// `nxagent` does not run and nobody wants it to.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            place: Place::Absent,
            entered: now,
            want: Want::Nothing,
            wanted: now,
            nudged: None,
            begun: false,
            failed: false,
        }
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Since when.
    pub(crate) fn entered(&self) -> Instant {
        self.entered
    }

    /// Whether a client was ever attached: from then on programs hang on it.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// As others see it.
    pub(crate) fn session(&self) -> Session {
        match self.place {
            Place::Absent if self.want == Want::Listen => Session::Starting,
            Place::Absent => Session::None,
            Place::Starting => Session::Starting,
            Place::Waiting | Place::Negotiating => Session::Listening,
            Place::Up | Place::Suspending => Session::Connected,
            Place::Suspended => Session::Suspended,
            Place::Ending => Session::Ending,
        }
    }

    /// From now on `want` holds. The end, once wanted, is final.
    pub(crate) fn want(&mut self, want: Want, now: Instant) {
        let news = want != self.want || want != Want::Nothing;
        if self.want != Want::End && news {
            (self.want, self.wanted, self.nudged, self.failed) = (want, now, None, false);
        }
    }

    fn enter(&mut self, place: Place, now: Instant) {
        if self.place != place {
            (self.place, self.entered, self.nudged) = (place, now, None);
        }
        self.begun |= place == Place::Up;
    }

    /// `nxagent` was started.
    pub(crate) fn spawned(&mut self, now: Instant) {
        self.enter(Place::Starting, now);
    }

    /// A client was given its one connection.
    pub(crate) fn opened(&mut self, now: Instant) {
        self.enter(Place::Negotiating, now);
    }

    /// `nxagent` said something.
    pub(crate) fn heard(&mut self, said: &Said, now: Instant) {
        let place = match said {
            Said::Starting => Place::Starting,
            Said::Waiting => Place::Waiting,
            Said::Accepted => Place::Negotiating,
            Said::Up => Place::Up,
            // It says so of a client that never came to be attached, too.
            Said::Suspending if self.place == Place::Up => Place::Suspending,
            Said::Suspended => Place::Suspended,
            Said::Ending => Place::Ending,
            Said::Suspending | Said::Problem(_) => return,
        };
        self.enter(place, now);
    }

    /// `nxagent` ended. One that never came to wait would not the next time either.
    pub(crate) fn exited(&mut self, now: Instant, waited: bool) {
        self.failed |= !waited;
        self.enter(Place::Absent, now);
    }

    /// How the present wish stands.
    pub(crate) fn outlook(&self) -> Outlook {
        match (self.want, self.place) {
            (Want::Nothing, _)
            | (Want::Listen, Place::Waiting)
            | (Want::Suspend, Place::Suspended | Place::Absent)
            | (Want::End, Place::Absent) => Outlook::Fulfilled,
            (Want::Listen, Place::Absent) if self.begun || self.failed => Outlook::Hopeless,
            _ => Outlook::Pending,
        }
    }

    /// The next thing to do.
    pub(crate) fn next(&self, now: Instant) -> Step {
        let here = now.saturating_duration_since(self.entered);
        let step = match (self.want, self.place) {
            (Want::Listen, Place::Absent) if !self.begun && !self.failed => Step::Spawn,
            (_, Place::Absent) => Step::Wait,
            (Want::End, _) if now.saturating_duration_since(self.wanted) >= ENDING_MAX => {
                Step::Kill
            }
            (Want::End, _) => Step::Terminate,
            (_, Place::Ending) if here >= ENDING_MAX => Step::Kill,
            (_, Place::Starting) if here >= STARTING_MAX => Step::Kill,
            (Want::Listen | Want::Suspend, Place::Up | Place::Suspending)
                if now.saturating_duration_since(self.wanted) >= ORDERLY =>
            {
                Step::Cut
            }
            (Want::Listen, Place::Suspended)
            | (Want::Listen | Want::Suspend, Place::Up | Place::Negotiating)
            | (Want::Suspend, Place::Waiting) => Step::Hangup,
            (Want::Nothing, Place::Waiting) if here >= self.waiting_max() => Step::Hangup,
            (Want::Nothing, Place::Negotiating) if here >= NEGOTIATING_MAX => Step::Hangup,
            (Want::Nothing, Place::Negotiating) if here >= WAKE => Step::Wake,
            _ => Step::Wait,
        };
        let pause = if step == Step::Wake { WAKE } else { AGAIN };
        let due = self.nudged.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        let due = due && (self.place != Place::Suspended || here >= DEAF);
        if due || step == Step::Spawn { step } else { Step::Wait }
    }

    fn waiting_max(&self) -> Duration {
        if self.begun { WAITING_MAX } else { FIRST_WAITING_MAX }
    }

    /// A step was done.
    pub(crate) fn did(&mut self, step: Step, now: Instant) {
        if step != Step::Wait {
            self.nudged = Some(now);
        }
    }

    /// When to look again if nothing happens; `None`: time alone changes nothing.
    pub(crate) fn look_again(&self) -> Option<Duration> {
        if self.outlook() == Outlook::Pending {
            return Some(Duration::from_millis(20));
        }
        match self.place {
            Place::Absent | Place::Up | Place::Suspending | Place::Suspended => None,
            Place::Negotiating => Some(WAKE),
            _ => Some(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An `nxagent` by the facts: what each step makes of it. `lost`: signals it still swallows.
    struct Nxagent {
        place: Place,
        begun: bool,
        lost: u8,
    }

    impl Nxagent {
        fn feel(&mut self, step: Step, machine: &mut Machine, now: Instant) {
            let signal = matches!(step, Step::Hangup | Step::Terminate);
            if signal && self.lost > 0 {
                self.lost -= 1;
                return;
            }
            let (place, said): (Place, &[Said]) = match (step, self.place) {
                (Step::Spawn, Place::Absent) => {
                    machine.spawned(now);
                    (Place::Waiting, &[Said::Starting, Said::Waiting])
                }
                (Step::Kill, _) => (Place::Absent, &[]),
                (Step::Hangup, Place::Suspended) => {
                    (Place::Waiting, &[Said::Starting, Said::Waiting])
                }
                (Step::Hangup | Step::Terminate, Place::Waiting | Place::Negotiating) => {
                    if self.begun {
                        (Place::Suspended, &[Said::Suspending, Said::Suspended])
                    } else {
                        (Place::Absent, &[Said::Ending])
                    }
                }
                (Step::Hangup | Step::Cut, Place::Up | Place::Suspending) => {
                    (Place::Suspended, &[Said::Suspending, Said::Suspended])
                }
                (Step::Terminate, _) => (Place::Absent, &[Said::Ending]),
                _ => return,
            };
            for said in said {
                machine.heard(said, now);
            }
            if place == Place::Absent {
                machine.exited(now, true);
            }
            self.place = place;
        }
    }

    fn at(place: Place, begun: bool, now: Instant) -> Machine {
        Machine { place, begun, ..Machine::new(now) }
    }

    const PLACES: [Place; 8] = [
        Place::Absent,
        Place::Starting,
        Place::Waiting,
        Place::Negotiating,
        Place::Up,
        Place::Suspending,
        Place::Suspended,
        Place::Ending,
    ];

    #[test]
    fn every_wish_is_fulfilled_from_everywhere_whatever_signals_are_lost() {
        let start = Instant::now();
        for place in PLACES {
            for want in [Want::Listen, Want::Suspend, Want::End] {
                for (begun, lost) in [(false, 0), (false, 2), (true, 0), (true, 2)] {
                    if begun && place == Place::Absent || !begun && place == Place::Suspended {
                        continue;
                    }
                    let begun = begun || matches!(place, Place::Up | Place::Suspending);
                    let mut machine = at(place, begun, start);
                    let mut nxagent = Nxagent { place, begun, lost };
                    machine.want(want, start);
                    let mut now = start;
                    while machine.outlook() == Outlook::Pending {
                        let step = machine.next(now);
                        machine.did(step, now);
                        nxagent.feel(step, &mut machine, now);
                        now += Duration::from_millis(100);
                        assert!(
                            now < start + Duration::from_secs(30),
                            "{place:?} {want:?} {begun} {lost}: {machine:?}"
                        );
                    }
                    // What had programs and had to be killed is gone, and says so.
                    let killed = begun && matches!(place, Place::Starting | Place::Ending);
                    let expected = if killed && want == Want::Listen {
                        Outlook::Hopeless
                    } else {
                        Outlook::Fulfilled
                    };
                    assert_eq!(machine.outlook(), expected, "{place:?} {want:?} {begun} {lost}");
                }
            }
        }
    }

    #[test]
    fn a_session_is_left_in_peace_when_nothing_is_wanted() {
        let start = Instant::now();
        for place in [Place::Absent, Place::Up, Place::Suspended, Place::Suspending] {
            let machine = at(place, true, start);
            for hours in 0..100 {
                assert_eq!(machine.next(start + Duration::from_secs(3600 * hours)), Step::Wait);
            }
            assert_eq!(machine.look_again(), None);
        }
    }

    #[test]
    fn programs_do_not_stand_still_for_a_client_that_never_comes() {
        let start = Instant::now();
        let machine = at(Place::Waiting, true, start);
        assert_eq!(machine.next(start + WAITING_MAX / 2), Step::Wait);
        assert_eq!(machine.next(start + WAITING_MAX), Step::Hangup);
        assert!(machine.look_again().is_some());
        let silent = at(Place::Negotiating, true, start);
        assert_eq!(silent.next(start + NEGOTIATING_MAX), Step::Hangup);
    }

    /// Its sleep would last five seconds, and so much longer the way to the picture.
    #[test]
    fn one_that_agrees_with_its_client_is_kept_awake_until_it_has() {
        let start = Instant::now();
        let mut machine = at(Place::Waiting, true, start);
        machine.opened(start);
        let woken = |machine: &mut Machine, from: Instant| {
            let moments = (0..100).map(|at| from + Duration::from_millis(10 * at));
            let woken = moments.filter(|now| {
                let step = machine.next(*now);
                machine.did(step, *now);
                step == Step::Wake
            });
            woken.count()
        };
        assert_eq!(woken(&mut machine, start), 9);
        assert_eq!(machine.look_again(), Some(WAKE));
        machine.heard(&Said::Up, start + Duration::from_secs(1));
        assert_eq!(woken(&mut machine, start + Duration::from_secs(1)), 0);
    }

    #[test]
    fn an_nxagent_that_cannot_start_is_not_started_for_ever() {
        let now = Instant::now();
        let mut machine = Machine::new(now);
        machine.want(Want::Listen, now);
        assert_eq!(machine.next(now), Step::Spawn);
        machine.spawned(now);
        machine.exited(now, false);
        assert_eq!((machine.outlook(), machine.next(now)), (Outlook::Hopeless, Step::Wait));
        machine.want(Want::Listen, now);
        assert_eq!(machine.next(now), Step::Spawn, "another wish is another try");
    }

    proptest! {
        #[test]
        fn nothing_is_done_to_a_session_that_nobody_asked_for(
            steps in proptest::collection::vec((0_usize..7, 0_u64..5000), 0..60)
        ) {
            let said = [
                Said::Starting, Said::Waiting, Said::Accepted, Said::Up, Said::Suspending,
                Said::Suspended, Said::Ending,
            ];
            let mut now = Instant::now();
            let mut machine = Machine::new(now);
            for (which, millis) in steps {
                now += Duration::from_millis(millis);
                machine.heard(&said[which], now);
                let step = machine.next(now);
                let patient = now.saturating_duration_since(machine.entered()) < ENDING_MAX;
                let harmless = matches!(step, Step::Wait | Step::Wake);
                prop_assert!(harmless || !patient, "{step:?} after {:?}", said[which]);
            }
        }
    }
}
