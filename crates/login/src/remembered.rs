//! Passwords that were good a moment ago, so that a client that connects again need not wait.
//!
//! What is kept is neither the password nor anything it could be guessed from elsewhere: a keyed
//! hash of it, with a key that this process alone has and that ends with it. The stored hash goes
//! in as well, so a password that was changed or taken away is forgotten with it.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use model::{Timestamp, UserId};
use sha2::Sha256;

/// How long a good password is remembered: a minute.
pub(crate) const REMEMBERED_MILLIS: i64 = 60_000;

/// The passwords that were good within the last minute: one for each user.
pub(crate) struct Remembered {
    key: [u8; 32],
    good: HashMap<UserId, (Timestamp, Vec<u8>)>,
}

impl Remembered {
    /// Remembers nothing yet. The key must be random.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key, good: HashMap::new() }
    }

    /// Whether this password was good for this user and stored hash within the last minute.
    pub(crate) fn knows(&self, now: Timestamp, user: UserId, hash: &str, password: &str) -> bool {
        self.good.get(&user).is_some_and(|(at, tag)| {
            fresh(now, *at) && self.mac(user, hash, password).verify_slice(tag).is_ok()
        })
    }

    /// Remembers a good password, and forgets those of others that are too old.
    pub(crate) fn remember(&mut self, now: Timestamp, user: UserId, hash: &str, password: &str) {
        let tag = self.mac(user, hash, password).finalize().into_bytes().to_vec();
        self.good.retain(|_, (at, _)| fresh(now, *at));
        self.good.insert(user, (now, tag));
    }

    fn mac(&self, user: UserId, hash: &str, password: &str) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(&user.0.to_be_bytes());
        // With its length, so that no two pairs of hash and password look alike.
        mac.update(&(hash.len() as u64).to_be_bytes());
        mac.update(hash.as_bytes());
        mac.update(password.as_bytes());
        mac
    }
}

/// Whether a moment lies within the last minute; one in the future does not.
fn fresh(now: Timestamp, at: Timestamp) -> bool {
    (0..REMEMBERED_MILLIS).contains(&now.millis_since(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const ADA: UserId = UserId(1);

    #[test]
    fn a_password_is_remembered_for_a_minute_with_all_it_belongs_to() {
        let mut remembered = Remembered::new([1; 32]);
        assert!(!remembered.knows(NOW, ADA, "hash", "good"));
        remembered.remember(NOW, ADA, "hash", "good");
        assert!(remembered.knows(NOW, ADA, "hash", "good"));
        assert!(remembered.knows(NOW.plus_millis(59_999), ADA, "hash", "good"));
        assert!(!remembered.knows(NOW.plus_millis(60_000), ADA, "hash", "good"));
        assert!(!remembered.knows(NOW.plus_millis(-1), ADA, "hash", "good"));
        assert!(!remembered.knows(NOW, ADA, "hash", "goof"));
        assert!(!remembered.knows(NOW, ADA, "other", "good"));
        assert!(!remembered.knows(NOW, ADA, "hashg", "ood"));
        assert!(!remembered.knows(NOW, UserId(2), "hash", "good"));
    }

    #[test]
    fn what_is_too_old_takes_no_room() {
        let mut remembered = Remembered::new([1; 32]);
        for id in 0..1000 {
            remembered.remember(NOW.plus_millis(id * 1000), UserId(id), "hash", "good");
        }
        assert_eq!(remembered.good.len(), 60);
    }

    #[test]
    fn what_is_kept_depends_on_the_key() {
        let mut one = Remembered::new([1; 32]);
        let mut two = Remembered::new([2; 32]);
        one.remember(NOW, ADA, "hash", "good");
        two.remember(NOW, ADA, "hash", "good");
        assert_ne!(one.good[&ADA].1, two.good[&ADA].1);
    }
}
