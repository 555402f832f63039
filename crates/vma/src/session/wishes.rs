//! Who waits for what, and whose wish counts. Pure.
//!
//! There is one session and one place in front of it: the newest wish counts, and whoever waited for
//! something else is told so.

use std::time::{Duration, Instant};

use super::machine::Want;

/// Longer than this nobody is kept waiting: before hkd gives up, which it does after a minute without
/// a word, so that the reason is heard.
const WAIT_MAX: Duration = Duration::from_secs(50);

/// What is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// That `nxagent` waits for a client.
    Start,
    /// Its one connection.
    Open,
    /// That it has no client.
    Suspend,
}

impl Kind {
    /// Where `nxagent` must be for it.
    pub(crate) fn want(self) -> Want {
        match self {
            Self::Start | Self::Open => Want::Listen,
            Self::Suspend => Want::Suspend,
        }
    }
}

/// One wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Whose, by the number of the connection.
    pub(crate) of: u64,
    /// For what.
    pub(crate) kind: Kind,
    since: Instant,
}

/// Those who wait.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    waiting: Vec<Wish>,
    /// Whose turn with the session it is: the last one that asked for it to start.
    turn: Option<u64>,
}

impl Wishes {
    /// Whether `of` may have the connection: it asked last, or nobody who is there still did.
    pub(crate) fn may_open(&self, of: u64, is_there: impl Fn(u64) -> bool) -> bool {
        self.turn.is_none_or(|turn| turn == of || !is_there(turn))
    }

    /// Adds a wish. Returns those that give way to it.
    pub(crate) fn add(&mut self, of: u64, kind: Kind, since: Instant) -> Vec<Wish> {
        if kind == Kind::Start {
            self.turn = Some(of);
        }
        let stays = |wish: &Wish| {
            wish.kind.want() == kind.want() && (wish.of == of || kind == Kind::Suspend)
        };
        let (waiting, ousted) = self.waiting.drain(..).partition(stays);
        self.waiting = waiting;
        self.waiting.push(Wish { of, kind, since });
        ousted
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everyone, who then wait no more.
    pub(crate) fn take(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.waiting)
    }

    /// Those who have waited too long, who then wait no more. Who has gone is forgotten.
    pub(crate) fn overdue(&mut self, now: Instant, is_there: impl Fn(u64) -> bool) -> Vec<Wish> {
        self.waiting.retain(|wish| is_there(wish.of));
        let late = |wish: &Wish| now.saturating_duration_since(wish.since) >= WAIT_MAX;
        let (overdue, waiting) = self.waiting.drain(..).partition(late);
        self.waiting = waiting;
        overdue
    }

    /// Puts one back that could not be served yet.
    pub(crate) fn put_back(&mut self, wish: Wish) {
        self.waiting.push(wish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_client_has_the_turn() {
        let now = Instant::now();
        let mut wishes = Wishes::default();
        assert!(wishes.may_open(1, |_| true));
        assert!(wishes.add(1, Kind::Start, now).is_empty());
        let ousted = wishes.add(2, Kind::Start, now);
        assert_eq!(ousted.iter().map(|wish| wish.of).collect::<Vec<_>>(), [1]);
        assert!(!wishes.may_open(1, |_| true));
        assert!(wishes.may_open(2, |_| true));
        assert!(wishes.may_open(1, |connection| connection != 2), "the other one has gone");
    }

    #[test]
    fn a_suspension_ousts_who_waits_to_start_but_not_another_suspension() {
        let now = Instant::now();
        let mut wishes = Wishes::default();
        wishes.add(1, Kind::Start, now);
        assert_eq!(wishes.add(2, Kind::Suspend, now).len(), 1);
        assert!(wishes.add(3, Kind::Suspend, now).is_empty());
        assert_eq!(wishes.take().len(), 2);
        assert!(wishes.is_empty());
    }

    #[test]
    fn nobody_waits_for_ever_and_who_has_gone_is_forgotten() {
        let now = Instant::now();
        let mut wishes = Wishes::default();
        wishes.add(1, Kind::Suspend, now);
        wishes.add(2, Kind::Suspend, now);
        assert!(wishes.overdue(now, |connection| connection != 1).is_empty());
        let overdue = wishes.overdue(now + WAIT_MAX, |_| true);
        assert_eq!(overdue.iter().map(|wish| wish.of).collect::<Vec<_>>(), [2]);
    }
}
