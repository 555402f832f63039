//! Users, their passwords and their numbers.

use model::UserId;

use super::{Database, NOW, TENANT, add_user, world};
use crate::Error;

pub(super) async fn life_of_a_user(Database { store, .. }: Database) {
    let login = " Ada ".parse().unwrap();
    let ada = store.add_user(NOW, TENANT, &login, Some("$argon2id$x"), 10_000).await.unwrap();
    assert_eq!((ada.login.as_str(), ada.uid, ada.gid, ada.blocked), ("ada", 10_000, 10_000, false));
    let bob = add_user(&store, "bob").await;
    assert_eq!(bob.uid, 10_001);
    assert_eq!(store.users(TENANT).await.unwrap(), [ada.clone(), bob.clone()]);
    assert_eq!(store.user(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(store.user_by_login(TENANT, "bob").await.unwrap(), Some(bob.clone()));
    assert_eq!(store.user_by_login(TENANT, "eve").await.unwrap(), None);
    assert_eq!(store.user_by_login(model::TenantId(2), "bob").await.unwrap(), None);

    let taken = store.add_user(NOW, TENANT, &login, None, 1).await.unwrap_err();
    assert_eq!(taken.to_string(), "user ada exists already");
    let nowhere = store.add_user(NOW, model::TenantId(9), &login, None, 1).await.unwrap_err();
    assert_eq!(nowhere.to_string(), "there is no tenant 9");

    let hash = |text: &str| Some(text.to_owned());
    let found = store.password_hash(TENANT, "ada").await.unwrap();
    assert_eq!(found, Some((ada.clone(), hash("$argon2id$x"))));
    assert_eq!(store.password_hash(TENANT, "bob").await.unwrap(), Some((bob.clone(), None)));
    store.set_password_hash(bob.id, Some("$argon2id$y")).await.unwrap();
    store.set_password_hash(ada.id, None).await.unwrap();
    let found = store.password_hash(TENANT, "bob").await.unwrap();
    assert_eq!(found, Some((bob.clone(), hash("$argon2id$y"))));
    assert_eq!(store.password_hash(TENANT, "ada").await.unwrap(), Some((ada.clone(), None)));

    store.set_user_blocked(bob.id, true).await.unwrap();
    assert!(store.user(bob.id).await.unwrap().unwrap().blocked);
    store.set_user_blocked(bob.id, false).await.unwrap();
    assert!(!store.user(bob.id).await.unwrap().unwrap().blocked);

    store.delete_user(bob.id).await.unwrap();
    assert_eq!(store.users(TENANT).await.unwrap(), [ada]);
    let gone = |error: Error| assert!(matches!(error, Error::NotFound { noun: "user", .. }));
    gone(store.delete_user(bob.id).await.unwrap_err());
    gone(store.set_user_blocked(bob.id, true).await.unwrap_err());
    gone(store.set_password_hash(UserId(99), None).await.unwrap_err());
    assert_eq!(store.tenant_by_name("default").await.unwrap(), Some(TENANT));
    assert_eq!(store.tenant_by_name("other").await.unwrap(), None);
}

pub(super) async fn numbers_of_users_are_never_given_again(Database { store, .. }: Database) {
    let ada = add_user(&store, "ada").await;
    store.delete_user(ada.id).await.unwrap();
    let bob = add_user(&store, "bob").await;
    assert_eq!((ada.uid, bob.uid), (10_000, 10_001));
    let login = "cyd".parse().unwrap();
    let higher = store.add_user(NOW, TENANT, &login, None, 20_000).await.unwrap();
    assert_eq!((higher.uid, higher.gid), (20_000, 20_000));
    // A lower minimum later on does not lead back to numbers that were given.
    assert_eq!(add_user(&store, "dan").await.uid, 20_001);
}

pub(super) async fn used_users_stay(Database { store, .. }: Database) {
    let world = world(&store).await;
    let error = store.delete_user(world.user.id).await.unwrap_err();
    assert_eq!(error.to_string(), "user 1 is in use by VM desk");
    store.delete_vm(world.vm.id).await.unwrap();
    store.delete_user(world.user.id).await.unwrap();
}
