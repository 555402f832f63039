//! Logins against a real store.

use std::{future::Future, task::Poll};

use model::user::User;

use super::*;
use crate::{
    hash::hash_with_salt,
    throttle::{ACCOUNT_FAILURES, ADDRESS_FAILURES},
};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const HERE: &str = "192.0.2.1";

/// A store with the user ada, whose password is `good`, and the door to it.
struct Door {
    login: Login,
    ada: User,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/qvd.db", folder.path().display());
        let store = Store::migrate(&url).await.unwrap();
        let hash = hash_with_salt("good", [1; 16]).unwrap();
        let name = "ada".parse().unwrap();
        let ada = store.add_user(NOW, TenantId::DEFAULT, &name, Some(&hash), 10_000).await.unwrap();
        Self { login: Login::new(store), ada, _folder: folder }
    }

    fn try_at(
        &self,
        now: Timestamp,
        login: &str,
        password: &str,
        address: &str,
    ) -> impl Future<Output = Result<User, Denied>> + use<'_> {
        let credentials = Credentials {
            login: login.to_owned(),
            password: password.to_owned(),
            address: address.to_owned(),
        };
        self.login.check(now, credentials)
    }

    async fn try_now(&self, login: &str, password: &str) -> Result<User, Denied> {
        self.try_at(NOW, login, password, HERE).await
    }

    /// The number of hashes computed for one attempt, and its answer.
    async fn cost(&self, login: &str, password: &str) -> (u64, Result<User, Denied>) {
        let before = self.login.passwords.computed();
        let answer = self.try_now(login, password).await;
        (self.login.passwords.computed() - before, answer)
    }
}

#[tokio::test]
async fn a_login_may_be_written_in_many_ways() {
    let door = Door::new().await;
    for login in ["ada", " Ada ", "ADA", "ada@default", "ada#default", "Ada@Default "] {
        assert_eq!(door.try_now(login, "good").await.unwrap(), door.ada, "{login}");
    }
    for login in ["", "ada@", "ada@other", "ada#other", "@default", "ada@default@default", "a da"] {
        let denied = door.try_at(NOW, login, "good", login).await.unwrap_err();
        assert!(matches!(denied, Denied::BadCredentials), "{login}: {denied}");
    }
}

/// Whoever is refused costs one hash and gets one answer, whatever the cause.
#[tokio::test]
async fn refusals_look_alike() {
    let door = Door::new().await;
    let store = &door.login.store;
    let hash = hash_with_salt("good", [2; 16]).unwrap();
    let add = async |login: &str, hash: Option<&str>| {
        store.add_user(NOW, TenantId::DEFAULT, &login.parse().unwrap(), hash, 1).await.unwrap().id
    };
    let blocked = add("blocked", Some(&hash)).await;
    store.set_user_blocked(blocked, true).await.unwrap();
    add("without", None).await;
    add("broken", Some("$argon2id$v=19$broken")).await;
    for (login, password) in [
        ("ada", "bad"),
        ("ada", ""),
        ("nobody", "good"),
        ("nobody", ""),
        ("no body", "good"),
        ("ada@other", "good"),
        ("blocked", "good"),
        ("blocked", "bad"),
        ("without", ""),
        ("without", "good"),
        ("broken", "good"),
    ] {
        let (cost, answer) = door.cost(login, password).await;
        assert_eq!(cost, 1, "{login} {password}");
        let denied = answer.unwrap_err();
        assert_eq!(denied.to_string(), "wrong login or password", "{login} {password}");
    }
}

#[tokio::test]
async fn a_blocked_user_is_refused_even_when_remembered() {
    let door = Door::new().await;
    door.try_now("ada", "good").await.unwrap();
    assert_eq!(door.cost("ada", "good").await.0, 0);
    door.login.store.set_user_blocked(door.ada.id, true).await.unwrap();
    let (cost, answer) = door.cost("ada", "good").await;
    assert_eq!(cost, 1);
    assert!(matches!(answer, Err(Denied::BadCredentials)));
}

#[tokio::test]
async fn a_good_password_is_remembered_until_it_changes() {
    let door = Door::new().await;
    assert_eq!(door.cost("ada", "good").await.0, 1);
    assert_eq!(door.cost("ada", "good").await.0, 0);
    // A wrong one is not taken for it, and does not make it forgotten.
    assert_eq!(door.cost("ada", "bad").await.0, 1);
    assert_eq!(door.cost("ada", "good").await.0, 0);
    let before = door.login.passwords.computed();
    door.try_at(NOW.plus_millis(60_000), "ada", "good", HERE).await.unwrap();
    assert_eq!(door.login.passwords.computed() - before, 1);

    let hash = hash_with_salt("new", [3; 16]).unwrap();
    door.login.store.set_password_hash(door.ada.id, Some(&hash)).await.unwrap();
    assert!(matches!(door.cost("ada", "good").await, (1, Err(Denied::BadCredentials))));
    assert!(matches!(door.cost("ada", "new").await, (1, Ok(_))));
    door.login.store.set_password_hash(door.ada.id, None).await.unwrap();
    assert!(matches!(door.cost("ada", "new").await, (1, Err(Denied::BadCredentials))));
}

#[tokio::test]
async fn guessing_is_slowed_down_where_it_comes_from_and_nowhere_else() {
    let door = Door::new().await;
    for _ in 0..ACCOUNT_FAILURES.get() {
        assert!(matches!(door.try_now("ada", "bad").await, Err(Denied::BadCredentials)));
    }
    // Not even the right password is looked at now, nor the same account by another name.
    for login in ["ada", " ADA@default"] {
        let (cost, answer) = door.cost(login, "good").await;
        assert_eq!(cost, 0);
        let denied = answer.unwrap_err();
        assert_eq!(denied.to_string(), "too many failed logins: try again in 10 seconds");
        let Denied::Throttled { retry_after } = denied else { panic!("{denied}") };
        assert_eq!(retry_after, Duration::from_secs(10));
    }
    let denied = door.try_at(NOW.plus_millis(4_500), "ada", "good", HERE).await.unwrap_err();
    assert_eq!(denied.to_string(), "too many failed logins: try again in 6 seconds");
    door.try_at(NOW, "ada", "good", "192.0.2.2").await.unwrap();
    door.try_at(NOW.plus_millis(10_000), "ada", "good", HERE).await.unwrap();
}

/// Somebody in the office guesses at names that do not exist.
#[tokio::test]
async fn a_neighbour_who_guesses_keeps_nobody_out_who_was_let_in_before() {
    let door = Door::new().await;
    door.try_now("ada", "good").await.unwrap();
    for number in 0..ADDRESS_FAILURES.get() {
        let answer = door.try_now(&format!("user{number}"), "bad").await;
        assert!(matches!(answer, Err(Denied::BadCredentials)));
    }
    assert!(matches!(door.cost("stranger", "good").await, (0, Err(Denied::Throttled { .. }))));
    assert!(matches!(door.cost("ada", "good").await, (0, Ok(_))), "it is remembered");
    // Who guesses her password is still counted, and she with them.
    for _ in 0..ACCOUNT_FAILURES.get() {
        assert!(matches!(door.cost("ada", "bad").await, (1, Err(Denied::BadCredentials))));
    }
    assert!(matches!(door.cost("ada", "good").await, (0, Err(Denied::Throttled { .. }))));
}

#[tokio::test]
async fn good_logins_never_use_up_the_allowance() {
    let door = Door::new().await;
    for round in 0..50 {
        let later = NOW.plus_millis(round);
        door.try_at(later, "ada", "good", HERE).await.unwrap();
    }
}

/// Many guesses at once are no way around the count, nor is leaving before the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_once_are_counted_one_by_one() {
    let door = std::sync::Arc::new(Door::new().await);
    let guesses: Vec<_> = (0..40)
        .map(|_| {
            let door = std::sync::Arc::clone(&door);
            tokio::spawn(async move { door.try_now("ada", "bad").await })
        })
        .collect();
    let mut looked_at = 0;
    for guess in guesses {
        looked_at += u32::from(matches!(guess.await.unwrap(), Err(Denied::BadCredentials)));
    }
    // As many more as are computed at once.
    let most = ACCOUNT_FAILURES.get() + 4;
    assert!((ACCOUNT_FAILURES.get()..=most).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn a_guess_that_is_not_waited_for_is_counted() {
    let door = Door::new().await;
    let all = u32::try_from(door.login.passwords.working.available_permits()).unwrap();
    for guess in 1..=u64::from(ACCOUNT_FAILURES.get()) {
        let mut attempt = Box::pin(door.try_now("ada", "bad"));
        // Goes on until the hash is being computed, and leaves.
        std::future::poll_fn(|context| {
            let answered = attempt.as_mut().poll(context).is_ready();
            if answered || door.login.passwords.computed() == guess {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        drop(attempt);
        // The work holds its place until it is done.
        drop(door.login.passwords.working.acquire_many(all).await.unwrap());
    }
    assert!(matches!(door.try_now("ada", "good").await, Err(Denied::Throttled { .. })));
}

#[tokio::test]
async fn too_many_who_wait_are_sent_away_unheard() {
    let door = Door::new().await;
    let all = u32::try_from(door.login.passwords.waiting.available_permits()).unwrap();
    let others = door.login.passwords.waiting.acquire_many(all).await.unwrap();
    let (cost, answer) = door.cost("ada", "good").await;
    assert_eq!(cost, 0);
    assert!(matches!(answer, Err(Denied::Busy { .. })));
    drop(others);
    door.try_now("ada", "good").await.unwrap();
}

#[tokio::test]
async fn without_a_database_nobody_is_let_in_and_nobody_is_blamed() {
    let door = Door::new().await;
    door.login.store.close().await;
    for _ in 0..=ACCOUNT_FAILURES.get() {
        let denied = door.try_now("ada", "bad").await.unwrap_err();
        assert!(matches!(denied, Denied::Unavailable(_)), "{denied}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let credentials =
        Credentials { login: "ada".into(), password: "s3cret".into(), address: HERE.into() };
    assert!(!format!("{credentials:?}").contains("s3cret"));
}
