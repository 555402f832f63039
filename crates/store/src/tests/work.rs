//! What a host is told.

use model::{
    HostId,
    vm::{Power, Seen},
};

use super::{Database, add_user, add_vm, seen, want, world};
use crate::{Work, database::read};

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
    assert_eq!(store.host_work(here).await.unwrap().work, []);

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
    assert_eq!(store.host_work(here).await.unwrap().work, work);
    assert_eq!(store.host_work(there).await.unwrap().work.len(), 2);
    assert_eq!(store.host_work(HostId(9)).await.unwrap().work, []);
}

/// A row that none of our programs wrote, of the VM, its user or what was seen, hides that VM and no
/// other; which row it is is told.
pub(super) async fn an_unreadable_row_hides_one_vm(Database { store, .. }: Database) {
    let world = world(&store).await;
    let bob = add_user(&store, "bob").await;
    let here = world.host.id;
    assert!(!store.any_started().await.unwrap());
    let mut all = vec![world.vm.id];
    for name in ["two", "three", "four"] {
        all.push(add_vm(&store, name, bob.id, world.osf.id).await.id);
    }
    for vm in &all {
        want(&store, *vm, Power::On, here, world.di.id).await;
        store.put_observed(&seen(*vm, here, Seen::Running)).await.unwrap();
    }
    assert!(store.any_started().await.unwrap());
    let [one, two, three, _] = all[..] else { panic!("{all:?}") };
    let spoil = async |sql: String| {
        let sql = sqlx::AssertSqlSafe(sql);
        read!(store, on => sqlx::query(sql).execute(on).await.map(drop)).unwrap();
    };
    spoil(format!("UPDATE vms SET ip = 'here' WHERE id = {two}")).await;
    spoil(format!("UPDATE vm_observed SET reason_code = 'crashed', reason_args = '?' WHERE vm = {three}")).await;
    spoil(format!("UPDATE users SET login = '/' WHERE id = {}", world.user.id)).await;
    let found = store.host_work(here).await.unwrap();
    let said: Vec<_> =
        found.unreadable.iter().map(|(vm, error)| (*vm, error.to_string())).collect();
    assert_eq!(
        said,
        [
            (one, format!("row {} of table users has an unusable login", world.user.id)),
            (two, format!("row {two} of table vms has an unusable ip")),
            (
                three,
                format!("row {three} of host {here} of table vm_observed has an unusable reason_args")
            ),
        ]
    );
    assert_eq!(found.work.iter().map(|work| work.vm.id).collect::<Vec<_>>(), all[3..]);
}
