//! Connections, and what is asked of them.

use model::{Run, UserId, VmId};

use super::{Database, NOW, world};
use crate::{ConnectionRequest, Error, RequestKind};

pub(super) async fn the_newest_wins(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, user) = (world.vm.id, world.user.id);
    let add = async |name: &str| {
        store.add_connection(vm, Run(1), name, "l7r-1", "192.0.2.9", user, NOW).await
    };
    assert_eq!(store.newest_connection(vm).await.unwrap(), None);
    let first = add("secret-a").await.unwrap();
    assert_eq!(first.ended, []);
    let found = store.connection_by_name("secret-a").await.unwrap().unwrap();
    assert_eq!((found.id, found.vm, found.run, found.user), (first.id, vm, Run(1), user));
    assert_eq!((found.client.as_str(), found.incarnation.as_str()), ("192.0.2.9", "l7r-1"));
    assert_eq!((found.since, found.ended), (NOW, false));
    assert!(!format!("{found:?}").contains("secret-a"));

    let second = add("secret-b").await.unwrap();
    assert_eq!(second.ended, [first.id]);
    assert!(store.connection_by_name("secret-a").await.unwrap().unwrap().ended);
    let live: Vec<_> = store.connections().await.unwrap().into_iter().map(|c| c.id).collect();
    assert_eq!(live, [second.id]);
    let error = add("secret-b").await.unwrap_err();
    assert!(matches!(error, Error::Exists { .. }) && !error.to_string().contains("secret-b"));

    assert!(!store.end_connection(first.id).await.unwrap());
    assert!(store.end_connection(second.id).await.unwrap());
    assert!(!store.end_connection(second.id).await.unwrap());
    assert_eq!(store.connections().await.unwrap(), []);
    // The one that was lost last is still known; those before are gone.
    let newest = store.newest_connection(vm).await.unwrap().unwrap();
    assert_eq!((newest.id, newest.ended), (second.id, true));
    let third = add("secret-c").await.unwrap();
    assert_eq!(third.ended, []);
    assert_eq!(store.connection_by_name("secret-b").await.unwrap(), None);

    let add = |vm, user| store.add_connection(vm, Run(1), "secret-d", "l", "c", user, NOW);
    assert_eq!(add(VmId(9), user).await.unwrap_err().to_string(), "there is no VM 9");
    assert_eq!(add(vm, UserId(9)).await.unwrap_err().to_string(), "there is no user 9");
    // The failed attempt did not end the one there was.
    assert_eq!(store.connections().await.unwrap()[0].id, third.id);
}

pub(super) async fn what_is_asked_of_a_connection(Database { store, .. }: Database) {
    let vm = world(&store).await.vm.id;
    store.request_connection(vm, RequestKind::End).await.unwrap();
    store.request_connection(vm, RequestKind::Suspend).await.unwrap();
    let asked = ConnectionRequest { vm, kind: RequestKind::Suspend };
    assert_eq!(store.connection_requests().await.unwrap(), [asked]);
    let other = ConnectionRequest { vm, kind: RequestKind::End };
    store.delete_connection_request(other).await.unwrap();
    assert_eq!(store.connection_requests().await.unwrap(), [asked]);
    store.delete_connection_request(asked).await.unwrap();
    assert_eq!(store.connection_requests().await.unwrap(), []);
    let error = store.request_connection(VmId(9), RequestKind::End).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no VM 9");
}
