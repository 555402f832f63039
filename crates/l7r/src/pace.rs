//! When a `102` is due.
//!
//! The first goes out at once; then a new text as soon as the least time has passed, and the last one
//! again when nothing was sent for the most. So a person sees what happens, no client gives up, and
//! a desktop that reports without end fills nobody's buffers.

use std::time::Duration;

use tokio::time::Instant;

/// What to tell a waiting client, and when.
#[derive(Debug)]
pub(crate) struct Pace {
    least: Duration,
    most: Duration,
    text: String,
    fresh: bool,
    sent: Option<Instant>,
    since: Instant,
}

impl Pace {
    /// Waiting begins. Until something is said, `text` is what there is to say.
    pub(crate) fn new(now: Instant, least: Duration, most: Duration, text: &str) -> Self {
        Self { least, most, text: text.to_owned(), fresh: false, sent: None, since: now }
    }

    /// This is what happens now.
    pub(crate) fn say(&mut self, text: &str) {
        if self.text != text || self.sent.is_none() {
            text.clone_into(&mut self.text);
            self.fresh = true;
        }
    }

    /// When the next is due; may be in the past.
    pub(crate) fn due(&self) -> Instant {
        match (self.sent, self.fresh) {
            (None, true) => self.since,
            (None, false) => self.since + self.most,
            (Some(sent), true) => sent + self.least,
            (Some(sent), false) => sent + self.most,
        }
    }

    /// The text, when it is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<&str> {
        (now >= self.due()).then(|| {
            self.sent = Some(now);
            self.fresh = false;
            self.text.as_str()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_once_then_one_a_second_then_one_in_two() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(start, Duration::from_secs(1), Duration::from_secs(2), "waiting");
        assert_eq!(pace.take(at(1999)), None);
        pace.say("one");
        assert_eq!(pace.take(at(100)), Some("one"));
        pace.say("two");
        assert_eq!(pace.take(at(1099)), None);
        pace.say("three");
        assert_eq!(pace.due(), at(1100));
        assert_eq!(pace.take(at(1100)), Some("three"));
        pace.say("three");
        assert_eq!(pace.take(at(3099)), None);
        assert_eq!(pace.take(at(3100)), Some("three"));
    }

    #[test]
    fn silence_is_filled() {
        let start = Instant::now();
        let mut pace = Pace::new(start, Duration::from_secs(1), Duration::from_secs(2), "waiting");
        assert_eq!(pace.take(start + Duration::from_secs(2)), Some("waiting"));
    }
}
