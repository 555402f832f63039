//! VMs and their addresses.

use std::net::Ipv4Addr;

use model::{
    OsfId, UserId, VmId,
    network::VmNetwork,
    vm::{Power, Seen},
};

use super::{Database, NOW, TENANT, add_user, add_vm, network, seen, want, world};
use crate::{Error, VmEdit};

pub(super) async fn life_of_a_vm(Database { store, .. }: Database) {
    let world = world(&store).await;
    let vm = world.vm;
    assert_eq!((vm.name.as_str(), vm.tag.as_str(), vm.blocked), ("desk", "default", false));
    assert_eq!((vm.user, vm.osf, vm.tenant), (world.user.id, world.osf.id, TENANT));
    assert_eq!(vm.ip, Ipv4Addr::new(10, 9, 0, 254));
    let bob = add_user(&store, "bob").await.id;
    let other = add_vm(&store, "other", bob, vm.osf).await;
    assert_eq!(store.vms(TENANT).await.unwrap(), [vm.clone(), other.clone()]);
    assert_eq!(store.vms_of_user(bob).await.unwrap(), std::slice::from_ref(&other));
    assert_eq!(store.vm(vm.id).await.unwrap(), Some(vm.clone()));
    assert_eq!(store.vm(VmId(9)).await.unwrap(), None);

    for (name, user, osf, text) in [
        ("desk", vm.user, vm.osf, "VM desk exists already"),
        ("new", UserId(9), vm.osf, "there is no user 9"),
        ("new", vm.user, OsfId(9), "there is no OSF 9"),
    ] {
        let added = store.add_vm(NOW, TENANT, name, user, osf, "head", None, &network()).await;
        assert_eq!(added.unwrap_err().to_string(), text);
    }

    assert_eq!(store.edit_vm(vm.id, &VmEdit::default()).await.unwrap(), vm);
    let edit = VmEdit {
        name: Some("tower".into()),
        tag: Some("head".into()),
        blocked: Some(true),
        ip: Some(Ipv4Addr::new(10, 9, 0, 7)),
    };
    let edited = store.edit_vm(vm.id, &edit).await.unwrap();
    assert_eq!((edited.name.as_str(), edited.tag.as_str(), edited.blocked), ("tower", "head", true));
    assert_eq!(edited.ip, Ipv4Addr::new(10, 9, 0, 7));
    let error = store.edit_vm(other.id, &edit).await.unwrap_err();
    assert_eq!(error.to_string(), "address 10.9.0.7 is in use by VM tower");
    let edit = VmEdit { name: Some("tower".into()), ..VmEdit::default() };
    let error = store.edit_vm(other.id, &edit).await.unwrap_err();
    assert_eq!(error.to_string(), "VM tower exists already");
    assert!(matches!(store.edit_vm(VmId(9), &edit).await, Err(Error::NotFound { .. })));

    store.delete_vm(vm.id).await.unwrap();
    assert_eq!(store.vms(TENANT).await.unwrap(), [other]);
    assert_eq!(store.desired(vm.id).await.unwrap(), None);
    assert!(matches!(store.delete_vm(vm.id).await, Err(Error::NotFound { .. })));
}

pub(super) async fn addresses_of_vms(Database { store, .. }: Database) {
    let world = world(&store).await;
    store.delete_vm(world.vm.id).await.unwrap();
    // Three addresses: .6, .5 and .4.
    let net = VmNetwork::new(Ipv4Addr::new(10, 9, 0, 4), "29", None).unwrap();
    let add = async |name: &str, ip: Option<[u8; 4]>| {
        let (user, osf) = (world.user.id, world.osf.id);
        store.add_vm(NOW, TENANT, name, user, osf, "head", ip.map(Ipv4Addr::from), &net).await
    };
    let last = |vm: model::vm::Vm| vm.ip.octets()[3];
    assert_eq!(last(add("a", None).await.unwrap()), 6);
    assert_eq!(last(add("b", Some([10, 9, 0, 4])).await.unwrap()), 4);
    let error = add("c", Some([10, 9, 0, 4])).await.unwrap_err();
    assert_eq!(error.to_string(), "VM with the address 10.9.0.4 exists already");
    for outside in [[10, 9, 0, 1], [10, 9, 0, 7], [10, 9, 0, 3], [192, 0, 2, 1]] {
        let error = add("c", Some(outside)).await.unwrap_err();
        assert!(matches!(error, Error::BadAddress { .. }), "{error}");
    }
    let third = add("c", None).await.unwrap();
    assert_eq!(last(third.clone()), 5);
    let error = add("d", None).await.unwrap_err();
    assert!(matches!(error, Error::NoAddress { .. }), "{error}");
    store.delete_vm(third.id).await.unwrap();
    assert_eq!(last(add("d", None).await.unwrap()), 5);
}

pub(super) async fn only_a_vm_that_is_down_gets_another_address(
    Database { store, .. }: Database,
) {
    let world = world(&store).await;
    let (vm, host) = (world.vm.id, world.host.id);
    let to = async |last: u8| {
        let ip = Some(Ipv4Addr::new(10, 9, 0, last));
        store.edit_vm(vm, &VmEdit { ip, ..VmEdit::default() }).await
    };
    let refusal = "address 10.9.0.254 is in use by VM desk: stop it first, and wait until it is stopped";
    want(&store, vm, Power::On, host, world.di.id).await;
    assert_eq!(to(7).await.unwrap_err().to_string(), refusal);
    // The one it has is no other.
    to(254).await.unwrap();
    want(&store, vm, Power::Off, host, world.di.id).await;
    store.put_observed(&seen(vm, host, Seen::Stopping)).await.unwrap();
    assert_eq!(to(7).await.unwrap_err().to_string(), refusal);
    store.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap();
    assert_eq!(to(7).await.unwrap().ip, Ipv4Addr::new(10, 9, 0, 7));
}

pub(super) async fn running_vms_stay(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host) = (world.vm.id, world.host.id);
    want(&store, vm, Power::On, host, world.di.id).await;
    let error = store.delete_vm(vm).await.unwrap_err();
    assert_eq!(error.to_string(), "VM desk is in use by itself: it is to run; stop it first");
    want(&store, vm, Power::Off, host, world.di.id).await;
    store.put_observed(&seen(vm, host, Seen::Stopping)).await.unwrap();
    let error = store.delete_vm(vm).await.unwrap_err();
    assert_eq!(error.to_string(), "VM desk is in use by host node1");
    // A refusal changes nothing.
    assert_eq!(store.desired(vm).await.unwrap().unwrap().power, Power::Off);
    store.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap();
    store.delete_vm(vm).await.unwrap();
    assert_eq!(store.all_observed().await.unwrap(), []);
    assert_eq!(store.all_desired().await.unwrap(), []);
    // Nobody may speak of it any more.
    let error = store.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no VM or host 1 of host 1");
}
