//! Many at once: one wins, and nothing is given twice.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use model::{OsfId, Revision, Run, UserId, network::VmNetwork, vm::{Desired, Power}};

use super::{Database, NOW, TENANT, world};
use crate::{Error, Store};

const RACERS: usize = 8;

/// Runs the same thing at once in tasks that share nothing: every second one has connections of
/// another process's kind.
async fn race<T, F>(database: &Database, run: impl Fn(Store, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let other = Store::open(&database.url).await.unwrap();
    let start = Arc::new(tokio::sync::Barrier::new(RACERS));
    let racers: Vec<_> = (0..RACERS)
        .map(|number| {
            let store = if number % 2 == 0 { &database.store } else { &other };
            let (start, run) = (Arc::clone(&start), run(store.clone(), number));
            tokio::spawn(async move {
                start.wait().await;
                run.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for racer in racers {
        results.push(racer.await.unwrap());
    }
    results
}

pub(super) async fn one_of_eight_sets_what_is_desired(database: Database) {
    let world = world(&database.store).await;
    for round in 0..20 {
        let before = database.store.desired(world.vm.id).await.unwrap().unwrap();
        assert_eq!(before.revision, Revision(round));
        let won = race(&database, |store, number| {
            let mine = Desired {
                power: Power::On,
                run: before.run.next(),
                asked_by: format!("racer {number}"),
                ..before.clone()
            };
            async move { store.set_desired(&mine, Revision(round)).await.unwrap() }
        })
        .await;
        let winners: Vec<usize> = (0..RACERS).filter(|number| won[*number]).collect();
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let after = database.store.desired(world.vm.id).await.unwrap().unwrap();
        assert_eq!(after.asked_by, format!("racer {}", winners[0]));
    }
}

pub(super) async fn numbers_and_addresses_are_given_once(database: Database) {
    let world = world(&database.store).await;
    let uids = race(&database, |store, number| async move {
        let login = format!("racer{number}").parse().unwrap();
        store.add_user(NOW, TENANT, &login, None, 10_000).await.unwrap().uid
    })
    .await;
    let distinct: BTreeSet<u32> = uids.iter().copied().collect();
    assert_eq!(distinct, (10_001..10_009).collect());

    // Room for seven of eight: .8 to .14.
    database.store.delete_vm(world.vm.id).await.unwrap();
    let start = [10, 9, 0, 8].into();
    let (user, osf): (UserId, OsfId) = (world.user.id, world.osf.id);
    let network = VmNetwork::new(start, "28", None).unwrap();
    let added = race(&database, |store, number| async move {
        let name = format!("racer{number}");
        store.add_vm(NOW, TENANT, &name, user, osf, "head", None, &network).await
    })
    .await;
    let given: BTreeSet<u8> =
        added.iter().flatten().map(|vm| vm.ip.octets()[3]).collect();
    assert_eq!(given, (8..=14).collect());
    let refused: Vec<&Error> = added.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(matches!(refused[..], [Error::NoAddress { .. }]), "{refused:?}");
}

pub(super) async fn newest_image_is_head(database: Database) {
    let store = &database.store;
    let osf = store.add_osf(TENANT, &crate::NewOsf::new("debian", 2048)).await.unwrap().id;
    let dis = race(&database, |store, _| async move { super::add_di(&store, osf, None).await }).await;
    let versions: BTreeSet<&str> = dis.iter().map(|di| di.version.as_str()).collect();
    assert_eq!(versions.len(), RACERS);
    let newest = dis.iter().max_by_key(|di| di.id);
    assert_eq!(store.resolve_tag(osf, "head").await.unwrap().as_ref(), newest);
    let default: Vec<_> = store.tags_of(osf).await.unwrap();
    assert_eq!(default.iter().filter(|tag| tag.name == "default").count(), 1);
}

pub(super) async fn one_claim_one_connection_one_chain(database: Database) {
    let world = world(&database.store).await;
    let (vm, host, user) = (world.vm.id, world.host.id, world.user.id);
    let claimed = race(&database, |store, number| async move {
        let other = model::VmId(number as i64 + 1);
        store.claim_home("h", other, host, Run(1)).await.unwrap()
    })
    .await;
    assert_eq!(claimed.into_iter().filter(|claimed| *claimed).count(), 1);

    let added = race(&database, |store, number| async move {
        let name = format!("name-{number}");
        store.add_connection(super::connection(vm, user, &name)).await.unwrap()
    })
    .await;
    let newest = added.iter().max().copied();
    let live: Vec<_> = database.store.connections().await.unwrap();
    assert_eq!(live.iter().map(|live| Some(live.id)).collect::<Vec<_>>(), [newest]);

    race(&database, |store, number| async move {
        let entry = super::audit::entry(&format!("race {number}"));
        store.audit("api", &entry).await.unwrap();
    })
    .await;
    assert_eq!(database.store.audit_tail(100).await.unwrap().len(), RACERS);
    assert_eq!(database.store.verify_audit().await.unwrap(), []);
}
