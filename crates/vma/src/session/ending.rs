//! The end of a session, in good order: first the desktop is asked, then `nxagent` goes, then
//! whatever is left of its programs. Pure, but for looking at processes at the very end.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::{command, processes};

/// How long the desktop's own program may take to say goodbye.
const DESKTOP_MAX: Duration = Duration::from_secs(5);
/// How long its other programs may.
const REST_MAX: Duration = Duration::from_secs(2);
/// What cannot even be killed is left to init after this long.
const KILL_MAX: Duration = Duration::from_secs(3);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The desktop was asked to end, at this time.
    Desktop(Instant),
    /// `nxagent` is to go.
    Nxagent,
    /// Whatever is left was asked to end, at this time.
    Rest(Instant),
    /// Nothing is left.
    Over,
}

impl Ending {
    /// How far it is now. `desktop` and `nxagent`: whether they still run; `rest`: whether anything
    /// else does.
    pub(crate) fn next(self, now: Instant, desktop: bool, nxagent: bool, rest: bool) -> Self {
        match self {
            Self::Desktop(since) if desktop && now < since + DESKTOP_MAX => self,
            Self::Desktop(_) => Self::Nxagent,
            Self::Nxagent if nxagent => self,
            Self::Nxagent if rest || desktop => Self::Rest(now),
            Self::Rest(since) if (rest || desktop) && now < since + REST_MAX + KILL_MAX => self,
            Self::Nxagent | Self::Rest(_) | Self::Over => Self::Over,
        }
    }

    /// What is to be sent to whatever is left.
    pub(crate) fn signal(self, now: Instant) -> Signal {
        match self {
            Self::Rest(since) if now >= since + REST_MAX => Signal::KILL,
            _ => Signal::TERM,
        }
    }
}

/// Our living children but for `spared`. As the subreaper we inherit every program of the desktop
/// whose parent has ended.
pub(crate) fn left(spared: &[u32]) -> Vec<u32> {
    processes::children(std::process::id())
        .into_iter()
        .filter(|child| !child.ended && !spared.contains(&child.number))
        .map(|child| child.number)
        .collect()
}

/// Sends `signal` to each of these children of ours, which nobody else can reap.
pub(crate) fn tell(children: &[u32], signal: Signal) {
    for pid in children.iter().filter_map(|number| command::pid(*number)) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_comes_even_if_nothing_obeys() {
        let start = Instant::now();
        let mut now = start;
        let mut ending = Ending::Desktop(now);
        let mut killed = false;
        while ending != Ending::Over {
            let nxagent = now < start + Duration::from_secs(9);
            ending = ending.next(now, true, nxagent, true);
            killed |= ending.signal(now) == Signal::KILL;
            now += Duration::from_millis(50);
            assert!(now < start + Duration::from_secs(20), "{ending:?}");
        }
        assert!(killed);
    }

    #[test]
    fn nothing_is_waited_for_that_has_gone() {
        let now = Instant::now();
        let ending = Ending::Desktop(now).next(now, false, false, false);
        assert_eq!(ending, Ending::Nxagent);
        assert_eq!(ending.next(now, false, false, false), Ending::Over);
    }
}
