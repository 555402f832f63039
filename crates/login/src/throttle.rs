//! How often one may be wrong.
//!
//! Only failures count. They are counted for the account *from* the address, and for the address
//! whatever the account. So whoever guesses is slowed down, and nobody can lock another person out
//! from elsewhere. Those who share an address share its allowance, which is why that is the larger
//! one, and an account that was let in from there not long ago is held to its own allowance alone.
//!
//! An IPv6 address counts as its /64, which is what one network has. One subscriber may have as much
//! as a /48, so that is counted as well, with an allowance larger again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use model::Timestamp;

use crate::familiar::Familiar;

/// Failures in a row that an account may have from one address.
pub(crate) const ACCOUNT_FAILURES: NonZeroU32 = NonZeroU32::new(5).expect("five is not zero");
/// How long it then takes until one more is allowed.
const ACCOUNT_REFILL: Duration = Duration::from_secs(10);
/// Failures in a row that an address may have over all accounts.
pub(crate) const ADDRESS_FAILURES: NonZeroU32 = NonZeroU32::new(20).expect("twenty is not zero");
/// How long it then takes until one more is allowed.
const ADDRESS_REFILL: Duration = Duration::from_secs(1);
/// Failures in a row that an IPv6 /48 may have over all its networks.
const SITE_FAILURES: NonZeroU32 = NonZeroU32::new(80).expect("eighty is not zero");
/// How long it then takes until one more is allowed.
const SITE_REFILL: Duration = Duration::from_millis(250);

/// How many accounts or addresses are kept count of; beyond that, those with the fewest failures
/// are forgotten.
const KEYS_MAX: usize = 65_536;
/// A clock that goes back by less than this stands still; one that goes back further forgets all
/// failures, because they would seem to lie in the future.
const CLOCK_SLACK_MILLIS: i64 = 60_000;
/// Half a thousand years: nanoseconds fit into the limiter's numbers until then.
const UPTIME_MAX_MILLIS: u64 = 500 * 365 * 86_400_000;
/// The longest part of a login or an address that is told apart.
const KEY_LENGTH: usize = 64;

/// Counts failed logins.
#[derive(Default)]
pub(crate) struct Throttle {
    /// `None` before the first question, which tells the time.
    counts: Mutex<Option<Counts>>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").finish_non_exhaustive()
    }
}

impl Throttle {
    /// No failures yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether somebody who has just come to an address may try this account, and if not, after how
    /// long. Costs nothing of the allowance.
    pub(crate) fn look(
        &self,
        now: Timestamp,
        account: &str,
        address: &str,
    ) -> Result<(), Duration> {
        {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.take_if(|counts| now.millis_since(counts.last) < -CLOCK_SLACK_MILLIS);
        }
        self.look_again(now, account, address)
    }

    /// The same for somebody who came at `now` and has waited since, so that it may be later.
    pub(crate) fn look_again(
        &self,
        now: Timestamp,
        account: &str,
        address: &str,
    ) -> Result<(), Duration> {
        let (account, Place { network, site }) = (key(account), place(address));
        let answers = self.with_counts(now, |counts| {
            let stranger = !counts.familiar.knows(now, &account, &network);
            [
                site.filter(|_| stranger).map(|site| counts.by_site.try_one(&site, false)),
                stranger.then(|| counts.by_address.try_one(&network, false)),
                Some(counts.by_account.try_one(&(account, network), false)),
            ]
        });
        match answers.into_iter().flatten().filter_map(Result::err).max() {
            None => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// Counts a failure of somebody who came at `now`.
    pub(crate) fn failed(&self, now: Timestamp, account: &str, address: &str) {
        let (account, Place { network, site }) = (key(account), place(address));
        self.with_counts(now, |counts| {
            // One too many changes nothing: the allowance is used up either way.
            let _ = site.map(|site| counts.by_site.try_one(&site, true));
            let _ = counts.by_address.try_one(&network, true);
            let _ = counts.by_account.try_one(&(account, network), true);
        });
    }

    /// Notes that the account was let in: from this address it no longer suffers for the failures
    /// of others.
    pub(crate) fn succeeded(&self, now: Timestamp, account: &str, address: &str) {
        let (account, network) = (key(account), place(address).network);
        self.with_counts(now, |counts| counts.familiar.greet(now, account, network));
    }

    /// Asks the counts with their clock at `now`, or where it is when that is later. They are whole
    /// after each step, so a panic elsewhere does not matter.
    fn with_counts<T>(&self, now: Timestamp, ask: impl FnOnce(&mut Counts) -> T) -> T {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.get_or_insert_with(|| Counts::new(now));
        if now > counts.last {
            counts.last = now;
            let since = now.millis_since(counts.start);
            counts.by_account.set_clock(since);
            counts.by_address.set_clock(since);
            counts.by_site.set_clock(since);
        }
        ask(counts)
    }
}

struct Counts {
    start: Timestamp,
    last: Timestamp,
    by_account: Allowance<(String, String)>,
    by_address: Allowance<String>,
    by_site: Allowance<String>,
    familiar: Familiar,
}

impl Counts {
    fn new(now: Timestamp) -> Self {
        Self {
            start: now,
            last: now,
            by_account: Allowance::new(ACCOUNT_FAILURES, ACCOUNT_REFILL),
            by_address: Allowance::new(ADDRESS_FAILURES, ADDRESS_REFILL),
            by_site: Allowance::new(SITE_FAILURES, SITE_REFILL),
            familiar: Familiar::new(),
        }
    }
}

/// The failures that each of many keys may have.
struct Allowance<K: Hash + Eq + Clone> {
    limiter: RateLimiter<Try<K>, Failures<K>, GivenClock, NoOpMiddleware<Nanos>>,
    /// When there are this many keys, those that no longer matter are dropped.
    clean_at: Cell<usize>,
}

impl<K: Hash + Eq + Clone> Allowance<K> {
    fn new(burst: NonZeroU32, refill: Duration) -> Self {
        let quota = Quota::with_period(refill)
            .expect("the constants above are longer than nothing")
            .allow_burst(burst);
        let failures = Failures { next: RefCell::new(HashMap::new()) };
        let limiter = RateLimiter::new(quota, failures, GivenClock(Cell::new(0)));
        Self { limiter, clean_at: Cell::new(1024) }
    }

    fn set_clock(&self, millis: i64) {
        let millis = u64::try_from(millis).unwrap_or_default().min(UPTIME_MAX_MILLIS);
        self.limiter.clock().0.set(millis * 1_000_000);
    }

    /// Whether one more failure is allowed, and if not, after how long.
    fn try_one(&self, key: &K, count: bool) -> Result<(), Duration> {
        if count && self.limiter.len() >= self.clean_at.get() {
            self.limiter.retain_recent();
            self.clean_at.set((self.limiter.len() * 2).clamp(1024, KEYS_MAX));
        }
        self.limiter
            .check_key(&Try { key: key.clone(), count })
            .map_err(|refused| refused.wait_time_from(self.limiter.clock().now()))
    }
}

/// A question to the limiter: for which key, and whether the answer is to be remembered.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Try<K> {
    key: K,
    count: bool,
}

/// For each key the moment at which its allowance will be whole again.
struct Failures<K> {
    next: RefCell<HashMap<K, Nanos>>,
}

impl<K: Hash + Eq + Clone> StateStore for Failures<K> {
    type Key = Try<K>;

    fn measure_and_replace<T, F, E>(&self, question: &Try<K>, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut next = self.next.borrow_mut();
        let (answer, later) = measure(next.get(&question.key).copied())?;
        if question.count {
            next.insert(question.key.clone(), later);
        }
        Ok(answer)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<Try<K>> for Failures<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut next = self.next.borrow_mut();
        next.retain(|_, moment| *moment > drop_below);
        if next.len() >= KEYS_MAX {
            let mut moments: Vec<Nanos> = next.values().copied().collect();
            let (_, median, _) = moments.select_nth_unstable(KEYS_MAX / 2);
            let median = *median;
            next.retain(|_, moment| *moment > median);
        }
    }

    fn len(&self) -> usize {
        self.next.borrow().len()
    }

    fn is_empty(&self) -> bool {
        self.next.borrow().is_empty()
    }
}

/// A clock that shows what it was set to: nanoseconds since the start of the counts.
struct GivenClock(Cell<u64>);

impl Clock for GivenClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

/// What of a text is told apart: not the case, nor what is too long for a login.
fn key(text: &str) -> String {
    text.trim().chars().take(KEY_LENGTH).flat_map(char::to_lowercase).collect()
}

/// What an address belongs to.
struct Place {
    /// The address itself, or the /64 of an IPv6 address.
    network: String,
    /// The /48 of an IPv6 address.
    site: Option<String>,
}

/// Where somebody is. What is no address counts as itself.
fn place(address: &str) -> Place {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => Place { network: address.to_string(), site: None },
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            Place {
                network: format!("{a:x}:{b:x}:{c:x}:{d:x}::/64"),
                site: Some(format!("{a:x}:{b:x}:{c:x}::/48")),
            }
        }
        Err(_) => Place { network: key(address), site: None },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    fn fail(throttle: &Throttle, now: Timestamp, account: &str, address: &str, times: u32) {
        for _ in 0..times {
            throttle.failed(now, account, address);
        }
    }

    #[test]
    fn five_failures_then_one_in_ten_seconds() {
        let throttle = Throttle::new();
        for _ in 0..5 {
            assert_eq!(throttle.look(NOW, "ada", HERE), Ok(()));
            // Looking costs nothing.
            assert_eq!(throttle.look(NOW, "ada", HERE), Ok(()));
            throttle.failed(NOW, "ada", HERE);
        }
        assert_eq!(throttle.look(NOW, "ada", HERE), Err(Duration::from_secs(10)));
        let later = NOW.plus_millis(4_000);
        assert_eq!(throttle.look(later, "ada", HERE), Err(Duration::from_secs(6)));
        let later = NOW.plus_millis(10_000);
        assert_eq!(throttle.look(later, "ada", HERE), Ok(()));
        throttle.failed(later, "ada", HERE);
        assert_eq!(throttle.look(later, "ada", HERE), Err(Duration::from_secs(10)));
        assert_eq!(throttle.look(NOW.plus_millis(70_000), "ada", HERE), Ok(()));
    }

    #[test]
    fn nobody_is_locked_out_from_another_address() {
        let throttle = Throttle::new();
        fail(&throttle, NOW, "ada", HERE, 1000);
        assert!(throttle.look(NOW, "ada", HERE).is_err());
        assert_eq!(throttle.look(NOW, "ada", THERE), Ok(()));
        // Failures of one account leave the address some for others.
        let throttle = Throttle::new();
        fail(&throttle, NOW, "ada", HERE, 5);
        assert_eq!(throttle.look(NOW, "bob", HERE), Ok(()));
    }

    #[test]
    fn an_address_has_twenty_failures_then_one_a_second() {
        let throttle = Throttle::new();
        for number in 0..20 {
            let account = format!("user{number}");
            assert_eq!(throttle.look(NOW, &account, HERE), Ok(()));
            throttle.failed(NOW, &account, HERE);
        }
        assert_eq!(throttle.look(NOW, "ada", HERE), Err(Duration::from_secs(1)));
        assert_eq!(throttle.look(NOW.plus_millis(1000), "ada", HERE), Ok(()));
        assert_eq!(throttle.look(NOW, "ada", THERE), Ok(()));
    }

    #[test]
    fn whoever_was_let_in_here_does_not_suffer_for_neighbours() {
        for (here, elsewhere) in [(HERE, THERE), ("2001:db8:1:2::1", "2001:db8:1:3::1")] {
            let throttle = Throttle::new();
            throttle.succeeded(NOW, "ada", here);
            for number in 0..200 {
                throttle.failed(NOW, &format!("user{number}"), here);
                throttle.failed(NOW, &format!("user{number}"), elsewhere);
            }
            assert!(throttle.look(NOW, "bob", here).is_err());
            assert_eq!(throttle.look(NOW, "ada", here), Ok(()));
            // Where she has not been she is a stranger.
            assert!(throttle.look(NOW, "ada", elsewhere).is_err());
            // She has her own allowance and no more.
            fail(&throttle, NOW, "ada", here, 5);
            assert_eq!(throttle.look(NOW, "ada", here), Err(Duration::from_secs(10)));
        }
    }

    #[test]
    fn networks_of_one_site_share_a_larger_allowance() {
        let throttle = Throttle::new();
        for network in 0..80 {
            let address = format!("2001:db8:1:{network:x}::1");
            assert_eq!(throttle.look(NOW, "ada", &address), Ok(()));
            throttle.failed(NOW, "ada", &address);
        }
        let unused = "2001:db8:1:ffff::1";
        assert_eq!(throttle.look(NOW, "ada", unused), Err(Duration::from_millis(250)));
        assert_eq!(throttle.look(NOW.plus_millis(250), "ada", unused), Ok(()));
        assert_eq!(throttle.look(NOW, "ada", "2001:db8:2::1"), Ok(()));
    }

    #[test]
    fn what_is_the_same_is_counted_together() {
        let throttle = Throttle::new();
        for account in ["ada", " Ada", "ADA ", "aDa", "ada"] {
            throttle.failed(NOW, account, "::ffff:192.0.2.1");
        }
        assert!(throttle.look(NOW, "ada", HERE).is_err());
        for host in 1..=5 {
            throttle.failed(NOW, "bob", &format!("2001:db8:1:2::{host}"));
        }
        assert!(throttle.look(NOW, "bob", "2001:db8:1:2:ffff::1").is_err());
        assert_eq!(throttle.look(NOW, "bob", "2001:db8:1:3::1"), Ok(()));
        fail(&throttle, NOW, "cyd", "no address", 5);
        assert!(throttle.look(NOW, "cyd", "no address").is_err());
    }

    #[test]
    fn many_keys_take_little_room() {
        let throttle = Throttle::new();
        for number in 0..200_000_u32 {
            let address = IpAddr::V4(number.into()).to_string();
            throttle.failed(NOW, "ada", &address);
        }
        throttle.with_counts(NOW, |counts| {
            assert!(counts.by_address.limiter.len() <= KEYS_MAX);
            assert!(counts.by_account.limiter.len() <= KEYS_MAX);
        });
        // Whoever failed often is remembered while those who failed once are forgotten.
        let throttle = Throttle::new();
        fail(&throttle, NOW, "ada", HERE, 5);
        for number in 0..100_000_u32 {
            throttle.failed(NOW, "ada", &IpAddr::V4(number.into()).to_string());
        }
        assert!(throttle.look(NOW, "ada", HERE).is_err());
        // A minute later nobody matters any more.
        let later = NOW.plus_millis(60_000);
        throttle.with_counts(later, |counts| {
            counts.by_account.limiter.retain_recent();
            assert_eq!(counts.by_account.limiter.len(), 0);
        });
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        let throttle = Throttle::new();
        let future = NOW.plus_millis(365 * 86_400_000);
        fail(&throttle, future, "ada", HERE, 5);
        assert!(throttle.look(future.plus_millis(-100), "ada", HERE).is_err());
        assert_eq!(throttle.look(NOW, "ada", HERE), Ok(()));
        fail(&throttle, NOW, "ada", HERE, 5);
        assert!(throttle.look(NOW, "ada", HERE).is_err());
        assert_eq!(throttle.look(NOW.plus_millis(10_000), "ada", HERE), Ok(()));
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_refill(
            steps in proptest::collection::vec((0..3000_i64, 0..3_usize, 0..2_usize), 1..200),
        ) {
            let throttle = Throttle::new();
            let mut now = NOW;
            for (millis, account, address) in steps {
                now = now.plus_millis(millis);
                let (account, address) = (["a", "b", "c"][account], [HERE, THERE][address]);
                match throttle.look(now, account, address) {
                    Ok(()) => throttle.failed(now, account, address),
                    Err(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= ACCOUNT_REFILL);
                        let then = now.plus_millis(i64::try_from(wait.as_millis()).unwrap() + 1);
                        prop_assert_eq!(Throttle::look(&throttle, then, account, address), Ok(()));
                        now = then;
                    }
                }
            }
        }

        #[test]
        fn foreign_texts_never_panic(account in ".{0,100}", address in ".{0,100}", now: i64) {
            let throttle = Throttle::new();
            throttle.failed(Timestamp(now), &account, &address);
            let _ = throttle.look(Timestamp(now), &account, &address);
        }
    }
}
