//! Checking passwords: a bounded amount of work, and the same for everybody who is refused.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use model::{Timestamp, user::User};
use tokio::sync::Semaphore;

use crate::{hash, remembered::Remembered, throttle::Throttle};

/// How many may wait for their password to be checked.
const WAITING_MAX: usize = 256;
/// How many passwords are checked at once, at most: each takes 19 MiB and a core.
const AT_ONCE_MAX: usize = 4;
/// When to ask again after one was turned away unheard.
pub(crate) const BUSY: Duration = Duration::from_secs(1);

/// Checks passwords.
pub(crate) struct Passwords {
    /// Held while a hash is computed.
    pub(crate) working: Arc<Semaphore>,
    /// Held from the request to the answer.
    pub(crate) waiting: Arc<Semaphore>,
    checker: Arc<Checker>,
}

/// What the work itself needs, wherever it is done.
struct Checker {
    /// Checked against where there is no hash, so that this costs as much as where there is one.
    dummy: String,
    remembered: Mutex<Remembered>,
    throttle: Throttle,
    #[cfg(test)]
    computed: std::sync::atomic::AtomicU64,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

/// What is to be checked.
pub(crate) struct Question {
    /// What time it was when the question came.
    pub(crate) now: Timestamp,
    /// The user with the login and the stored hash of the password, as far as there are such.
    pub(crate) user: Option<(User, Option<String>)>,
    pub(crate) password: String,
    /// Whom a failure is counted for.
    pub(crate) account: String,
    /// Where it is counted.
    pub(crate) address: String,
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is this user.
    Good(User),
    /// No.
    Bad,
    /// Too many failures: ask again after this time.
    Later(Duration),
    /// Too many who wait: ask again in a moment.
    Busy,
}

impl Passwords {
    /// `key` and `salt` must be random.
    pub(crate) fn new(throttle: Throttle, key: [u8; 32], salt: [u8; 16]) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let checker = Checker {
            dummy: hash::hash_with_salt("", salt)
                .expect("the library's own parameters and a salt of 16 bytes are good"),
            remembered: Mutex::new(Remembered::new(key)),
            throttle,
            #[cfg(test)]
            computed: 0.into(),
        };
        Self {
            working: Arc::new(Semaphore::new(cores.min(AT_ONCE_MAX))),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            checker: Arc::new(checker),
        }
    }

    /// Whether an account may be tried from an address, and if not, after how long.
    pub(crate) fn look(
        &self,
        now: Timestamp,
        account: &str,
        address: &str,
    ) -> Result<(), Duration> {
        self.checker.throttle.look(now, account, address)
    }

    /// Checks a password. A failure is counted even when nobody waits for the answer any more.
    pub(crate) async fn check(&self, question: Question) -> Answer {
        if let Some(user) = self.checker.known(&question) {
            return Answer::Good(user);
        }
        let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Answer::Busy;
        };
        let Ok(working) = Arc::clone(&self.working).acquire_owned().await else {
            return Answer::Busy;
        };
        // Others may have failed while this one waited.
        let Question { now, account, address, .. } = &question;
        if let Err(wait) = self.checker.throttle.look_again(*now, account, address) {
            return Answer::Later(wait);
        }
        let checker = Arc::clone(&self.checker);
        let done = tokio::task::spawn_blocking(move || {
            let answer = checker.compute(question);
            drop((waiting, working));
            answer
        });
        done.await.unwrap_or(Answer::Busy)
    }

    /// How many hashes were computed.
    #[cfg(test)]
    pub(crate) fn computed(&self) -> u64 {
        self.checker.computed.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Checker {
    /// The user, if this password was good a moment ago and the user may still come in.
    fn known(&self, question: &Question) -> Option<User> {
        let (user, hash) = question.user.as_ref().filter(|(user, _)| !user.blocked)?;
        let (now, password) = (question.now, &question.password);
        if !self.remembered().knows(now, user.id, hash.as_deref()?, password) {
            return None;
        }
        self.throttle.succeeded(now, &question.account, &question.address);
        Some(user.clone())
    }

    /// Computes one hash, whoever asks, and compares it.
    fn compute(&self, question: Question) -> Answer {
        #[cfg(test)]
        self.computed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let Question { now, user, password, account, address } = question;
        let hash = user.as_ref().and_then(|(_, hash)| hash.as_deref());
        let same = match hash::verify(&password, hash.unwrap_or(&self.dummy)) {
            Ok(same) => same,
            Err(error) => {
                tracing::error!(user = %account, %error, "the stored hash of a password is unusable: set the password again");
                // It cost nothing, which would show.
                let _ = hash::verify(&password, &self.dummy);
                false
            }
        };
        match user {
            Some((user, Some(hash))) if same && !user.blocked => {
                self.remembered().remember(now, user.id, &hash, &password);
                self.throttle.succeeded(now, &account, &address);
                Answer::Good(user)
            }
            _ => {
                self.throttle.failed(now, &account, &address);
                Answer::Bad
            }
        }
    }

    /// They are whole after each step, so a panic elsewhere does not matter.
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_waited_long_does_not_turn_the_clock_back() {
        const NOW: Timestamp = Timestamp(1_700_000_000_000);
        let passwords = Passwords::new(Throttle::new(), [1; 32], [2; 16]);
        let later = NOW.plus_millis(90_000);
        for _ in 0..crate::throttle::ACCOUNT_FAILURES.get() {
            passwords.checker.throttle.failed(later, "ada", "192.0.2.1");
        }
        let question = Question {
            now: NOW,
            user: None,
            password: "bad".to_owned(),
            account: "bob".to_owned(),
            address: "192.0.2.2".to_owned(),
        };
        assert_eq!(passwords.check(question).await, Answer::Bad);
        assert!(passwords.look(later, "ada", "192.0.2.1").is_err(), "the failures are forgotten");
    }
}
