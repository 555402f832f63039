//! Hosts, what they say of themselves, and their leases.

use model::{
    HostId, Timestamp,
    host::HostStatus,
    vm::{Power, Seen},
};

use super::{Database, NOW, seen, want, world};
use crate::Error;

pub(super) async fn life_of_a_host(Database { store, .. }: Database) {
    let one = store.add_host("node1", "192.0.2.1").await.unwrap();
    let two = store.add_host("node2", "192.0.2.2").await.unwrap();
    assert_eq!((one.name.as_str(), one.address.as_str()), ("node1", "192.0.2.1"));
    assert_eq!(store.hosts().await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.host_by_name("node2").await.unwrap(), Some(two.clone()));
    assert_eq!(store.host_by_name("node3").await.unwrap(), None);
    let taken = store.add_host("node1", "192.0.2.3").await.unwrap_err();
    assert_eq!(taken.to_string(), "host node1 exists already");
    store.set_host_blocked(one.id, true).await.unwrap();
    assert!(store.host_by_name("node1").await.unwrap().unwrap().blocked);
    store.delete_host(one.id).await.unwrap();
    assert_eq!(store.hosts().await.unwrap(), [two]);
    let gone = |error: Error| assert!(matches!(error, Error::NotFound { noun: "host", .. }));
    gone(store.delete_host(one.id).await.unwrap_err());
    gone(store.set_host_blocked(one.id, true).await.unwrap_err());
}

pub(super) fn status(host: HostId) -> HostStatus {
    HostStatus {
        host,
        renewed_at: NOW,
        state: "running".into(),
        usable_cpu: 7999.25,
        usable_ram: 24_000.5,
        version: "0.1.0".into(),
        problems: vec!["the volume is \"full\"".into(), "née".into()],
    }
}

pub(super) async fn status_and_lease(Database { store, .. }: Database) {
    let host = store.add_host("node1", "192.0.2.1").await.unwrap().id;
    assert_eq!(store.host_statuses().await.unwrap(), []);
    let first = status(host);
    store.put_host_status(&first).await.unwrap();
    assert_eq!(store.host_statuses().await.unwrap(), [first]);
    let later = HostStatus { renewed_at: NOW.plus_millis(4000), problems: vec![], ..status(host) };
    store.put_host_status(&later).await.unwrap();
    assert_eq!(store.host_statuses().await.unwrap(), [later]);
    let unknown = store.put_host_status(&status(HostId(9))).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no host 9");

    assert_eq!(store.take_lease(NOW, host).await.unwrap(), 1);
    assert!(store.renew_lease(NOW.plus_millis(1), host, 1).await.unwrap());
    assert_eq!(store.take_lease(NOW.plus_millis(2), host).await.unwrap(), 2);
    assert!(!store.renew_lease(NOW.plus_millis(3), host, 1).await.unwrap());
    let lease = crate::Lease { host, epoch: 2, renewed_at: NOW.plus_millis(2) };
    assert_eq!(store.leases().await.unwrap(), [lease]);
    assert!(store.take_lease(NOW, HostId(9)).await.is_err());
    store.delete_host(host).await.unwrap();
    assert_eq!(store.leases().await.unwrap(), []);
    assert_eq!(store.host_statuses().await.unwrap(), []);
}

pub(super) async fn used_hosts_stay(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host) = (world.vm.id, world.host.id);
    want(&store, vm, Power::On, host, world.di.id).await;
    let error = store.delete_host(host).await.unwrap_err();
    assert_eq!(error.to_string(), "host 1 is in use by VM desk");
    want(&store, vm, Power::Off, host, world.di.id).await;
    store.put_observed(&seen(vm, host, Seen::Stopping)).await.unwrap();
    assert!(matches!(store.delete_host(host).await, Err(Error::InUse { .. })));
    // A refusal changes nothing.
    let before = store.desired(vm).await.unwrap().unwrap();
    assert_eq!(before.host, Some(host));
    store.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap();
    store.delete_host(host).await.unwrap();
    let after = store.desired(vm).await.unwrap().unwrap();
    assert_eq!((after.host, after.revision.0), (None, before.revision.0 + 1));
    assert_eq!(store.observed(vm).await.unwrap(), []);
}

pub(super) async fn the_clock_is_the_servers(Database { store, url }: Database) {
    let before = now();
    let clock = store.clock().await.unwrap();
    assert_eq!(clock.is_some(), url.starts_with("postgres"));
    // It is this machine's here.
    assert!(clock.is_none_or(|clock| (-1000..=60_000).contains(&clock.millis_since(before))));
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "it is what is compared")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since.as_millis().try_into().unwrap())
}
