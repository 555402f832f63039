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
const BUSY: Duration = Duration::from_secs(1);

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
    /// Ask again after this time.
    Later(Duration),
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
            return Answer::Later(BUSY);
        };
        let Ok(working) = Arc::clone(&self.working).acquire_owned().await else {
            return Answer::Later(BUSY);
        };
        // Others may have failed while this one waited.
        if let Err(wait) = self.look(question.now, &question.account, &question.address) {
            return Answer::Later(wait);
        }
        let checker = Arc::clone(&self.checker);
        let done = tokio::task::spawn_blocking(move || {
            let answer = checker.compute(question);
            drop((waiting, working));
            answer
        });
        done.await.unwrap_or(Answer::Later(BUSY))
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
        let known =
            self.remembered().knows(question.now, user.id, hash.as_deref()?, &question.password);
        known.then(|| user.clone())
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
