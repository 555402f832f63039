//! What a host is told.

use model::{
    HostId,
    vm::{Power, Seen},
};

use super::{Database, add_user, add_vm, seen, want, world};
use crate::Work;

pub(super) async fn a_host_sees_what_concerns_it(Database { store, .. }: Database) {
    let world = world(&store).await;
    let bob = add_user(&store, "bob").await;
    let no_home = crate::NewOsf { user_storage_size: Some(0), ..crate::NewOsf::new("kiosk", 512) };
    let osf = store.add_osf(super::TENANT, &no_home).await.unwrap();
    let moved = add_vm(&store, "moved", bob.id, osf.id).await;
    let elsewhere = add_vm(&store, "elsewhere", bob.id, osf.id).await;
    let unwanted = add_vm(&store, "unwanted", bob.id, osf.id).await;
    let here = world.host.id;
    let there = store.add_host("node2", "192.0.2.2").await.unwrap().id;
    assert_eq!(store.host_work(here).await.unwrap(), []);

    // Wanted here and not yet seen; seen here and now wanted elsewhere; neither; seen, not wanted.
    let wanted = want(&store, world.vm.id, Power::On, here, world.di.id).await;
    let wanted_there = want(&store, moved.id, Power::On, there, world.di.id).await;
    let seen_here = seen(moved.id, here, Seen::Running);
    store.put_observed(&seen_here).await.unwrap();
    store.put_observed(&seen(moved.id, there, Seen::Preparing)).await.unwrap();
    want(&store, elsewhere.id, Power::On, there, world.di.id).await;
    let seen_off = seen(unwanted.id, here, Seen::Nothing);
    store.put_observed(&seen_off).await.unwrap();
    let off = store.desired(unwanted.id).await.unwrap().unwrap();

    let work = [
        Work {
            desired: wanted,
            vm: world.vm,
            user: world.user,
            osf: world.osf,
            di: Some(world.di.clone()),
            observed: None,
        },
        Work {
            desired: wanted_there,
            vm: moved,
            user: bob.clone(),
            osf: osf.clone(),
            di: Some(world.di),
            observed: Some(seen_here),
        },
        Work { desired: off, vm: unwanted, user: bob, osf, di: None, observed: Some(seen_off) },
    ];
    assert_eq!(store.host_work(here).await.unwrap(), work);
    assert_eq!(store.host_work(there).await.unwrap().len(), 2);
    assert_eq!(store.host_work(HostId(9)).await.unwrap(), []);
}
