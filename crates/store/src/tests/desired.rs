//! What is wanted, by compare-and-set.

use model::{
    DiId, HostId, Revision, Run, Timestamp, VmId,
    vm::{Desired, Power},
};

use super::{Database, NOW, add_vm, want, world};

pub(super) async fn only_the_revision_expected_is_changed(Database { store, .. }: Database) {
    let world = world(&store).await;
    let vm = world.vm.id;
    let new = store.desired(vm).await.unwrap().unwrap();
    let fresh = Desired {
        vm,
        power: Power::Off,
        host: None,
        di: None,
        run: Run::NONE,
        revision: Revision(0),
        expires_soft: None,
        expires_hard: None,
        asked_by: String::new(),
        asked_at: NOW,
    };
    assert_eq!(new, fresh);
    let on = Desired {
        power: Power::On,
        host: Some(world.host.id),
        di: Some(world.di.id),
        run: Run(1),
        // Not what counts.
        revision: Revision(77),
        expires_soft: Some(Timestamp(5)),
        expires_hard: Some(Timestamp(6)),
        asked_by: "user ada".into(),
        asked_at: Timestamp(7),
        ..fresh
    };
    assert!(!store.set_desired(&on, Revision(1)).await.unwrap());
    assert!(store.set_desired(&on, Revision(0)).await.unwrap());
    assert!(!store.set_desired(&on, Revision(0)).await.unwrap());
    let stored = Desired { revision: Revision(1), ..on.clone() };
    assert_eq!(store.desired(vm).await.unwrap(), Some(stored));

    let nobody = Desired { vm: VmId(9), ..on.clone() };
    assert!(!store.set_desired(&nobody, Revision(0)).await.unwrap());
    assert_eq!(store.desired(VmId(9)).await.unwrap(), None);
    for wrong in [
        Desired { host: Some(HostId(9)), ..on.clone() },
        Desired { di: Some(DiId(9)), ..on },
    ] {
        let error = store.set_desired(&wrong, Revision(1)).await.unwrap_err();
        assert_eq!(error.to_string(), "there is no host or image named for VM 1");
    }
}

pub(super) async fn rows_of_a_host(Database { store, .. }: Database) {
    let world = world(&store).await;
    let second = add_vm(&store, "second", world.user.id, world.osf.id).await.id;
    let other = store.add_host("node2", "192.0.2.2").await.unwrap().id;
    let here = want(&store, world.vm.id, Power::On, world.host.id, world.di.id).await;
    let there = want(&store, second, Power::On, other, world.di.id).await;
    assert_eq!(store.desired_for_host(world.host.id).await.unwrap(), std::slice::from_ref(&here));
    assert_eq!(store.desired_for_host(other).await.unwrap(), std::slice::from_ref(&there));
    assert_eq!(store.all_desired().await.unwrap(), [here, there]);
}
