//! Which refused logins are worth a line in the log: each of them, but not each of its repetitions.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use model::Timestamp;

/// How long the same refusal is not told again.
const QUIET_MILLIS: i64 = 60_000;
/// How many refusals are told in that time: more of them are an attack, and no news.
const MOST: usize = 1024;

/// The refusals that were told a moment ago, by login and address.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: Mutex<HashMap<(String, String), Timestamp>>,
}

impl Refusals {
    /// Whether this one is to be told now.
    pub(super) fn is_news(&self, now: Timestamp, login: &str, address: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes everything news, once.
        told.retain(|_, at| (0..QUIET_MILLIS).contains(&now.millis_since(*at)));
        let key = (login.to_owned(), address.to_owned());
        if told.len() >= MOST || told.contains_key(&key) {
            return false;
        }
        told.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_and_never_too_much() {
        let refusals = Refusals::default();
        let at = |seconds: i64| Timestamp(1_700_000_000_000).plus_millis(seconds * 1000);
        let news = |seconds, login: &str| refusals.is_news(at(seconds), login, "192.0.2.1");
        assert!(news(0, "ada") && !news(1, "ada") && news(1, "bob") && !news(59, "ada"));
        assert!(news(60, "ada") && !news(60, "bob"));
        assert!(refusals.is_news(at(60), "ada", "192.0.2.2"));
        assert!(news(-100, "ada"), "the clock was set back");
        let all = (0..5 * MOST).filter(|number| news(200, &number.to_string())).count();
        assert_eq!(all, MOST);
        assert!(news(260, "ada"));
    }
}
