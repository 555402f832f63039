//! Connections.

use model::{Run, UserId, VmId};

use super::{Database, NOW, connection, world};
use crate::{Error, NewConnection};

pub(super) async fn the_newest_wins(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, user) = (world.vm.id, world.user.id);
    let add = async |name: &str| {
        store.add_connection(connection(vm, user, name)).await
    };
    assert_eq!(store.newest_connection(vm).await.unwrap(), None);
    let first = add("secret-a").await.unwrap();
    let found = store.newest_connection(vm).await.unwrap().unwrap();
    assert_eq!((found.id, found.vm, found.run, found.user), (first, vm, Run(1), user));
    assert_eq!((found.client.as_str(), found.incarnation.as_str()), ("192.0.2.9", "node1"));
    assert_eq!((found.since, found.ended), (NOW, false));
    assert!(!format!("{found:?}").contains("secret-a"));

    let second = add("secret-b").await.unwrap();
    let live: Vec<_> = store.connections().await.unwrap().into_iter().map(|c| c.id).collect();
    assert_eq!(live, [second]);
    let error = add("secret-b").await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }) && !error.to_string().contains("secret-b"));

    assert!(!store.end_connection(first).await.unwrap());
    assert!(store.end_connection(second).await.unwrap());
    assert!(!store.end_connection(second).await.unwrap());
    assert_eq!(store.connections().await.unwrap(), []);
    // The one that was lost last is still known; those before are gone.
    let newest = store.newest_connection(vm).await.unwrap().unwrap();
    assert_eq!((newest.id, newest.ended), (second, true));
    let third = add("secret-c").await.unwrap();
    assert_eq!(store.resume_connection("secret-b").await.unwrap(), None);

    let add = |vm, user| store.add_connection(connection(vm, user, "secret-d"));
    assert_eq!(add(VmId(9), user).await.unwrap_err().to_string(), "there is no VM 9");
    assert_eq!(add(vm, UserId(9)).await.unwrap_err().to_string(), "there is no user 9");
    // The failed attempt did not end the one there was.
    assert_eq!(store.connections().await.unwrap()[0].id, third);
}

pub(super) async fn an_old_name_holds_until_the_new_one_is_used(Database { store, .. }: Database) {
    let world = world(&store).await;
    let new = connection(world.vm.id, world.user.id, "secret-b");
    let id = store.add_connection(NewConnection { resumes: Some("secret-a"), ..new }).await.unwrap();
    let newest = async || store.newest_connection(world.vm.id).await.unwrap().unwrap();
    let goes_on = newest().await;
    assert!(goes_on.goes_on_from("secret-a") && goes_on.goes_on_from("secret-b"));
    assert!(!goes_on.goes_on_from("secret-c") && !format!("{goes_on:?}{new:?}").contains("secret"));
    store.establish_connection(id).await.unwrap();
    store.establish_connection(id).await.unwrap();
    let goes_on = newest().await;
    assert!(!goes_on.goes_on_from("secret-a") && goes_on.goes_on_from("secret-b"));
}

pub(super) async fn the_newest_goes_on_even_if_it_was_over(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, user) = (world.vm.id, world.user.id);
    let add = async |name: &str| {
        store.add_connection(connection(vm, user, name)).await.unwrap()
    };
    assert_eq!(store.resume_connection("secret-a").await.unwrap(), None);
    let first = add("secret-a").await;
    let found = store.resume_connection("secret-a").await.unwrap().unwrap();
    assert_eq!((found.id, found.ended), (first, false));
    assert!(store.end_connection(first).await.unwrap());
    let found = store.resume_connection("secret-a").await.unwrap().unwrap();
    assert_eq!((found.id, found.vm, found.ended), (first, vm, false));
    assert_eq!(store.connections().await.unwrap(), [found]);
    let second = add("secret-b").await;
    assert_eq!(store.resume_connection("secret-a").await.unwrap(), None);
    assert!(store.end_connection(second).await.unwrap());
    // Its place was taken: that the taker left does not give it back.
    assert_eq!(store.resume_connection("secret-a").await.unwrap(), None);
    assert_eq!(store.connections().await.unwrap(), []);
}
