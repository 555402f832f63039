//! Overlays and homes.

use model::{DiId, HostId, Run, VmId};

use super::{Database, world};
use crate::{Error, HomeClaim, Overlay};

pub(super) async fn overlays_are_noted_and_forgotten(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host, di) = (world.vm.id, world.host.id, world.di.id);
    store.put_overlay(vm, host, di, Run(1), "btrfs", 5).await.unwrap();
    store.put_overlay(vm, host, di, Run(2), "btrfs", 6).await.unwrap();
    let driver = "btrfs".to_owned();
    let overlay = Overlay { vm, host, di, run: Run(2), driver, bytes: 6, copied_at: None };
    assert_eq!(store.overlays(host).await.unwrap(), std::slice::from_ref(&overlay));
    assert_eq!(store.overlays(HostId(9)).await.unwrap(), []);
    let error = store.put_overlay(vm, host, DiId(9), Run(1), "btrfs", 5).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    // It outlives the VM's row, until its host has removed it.
    store.delete_vm(vm).await.unwrap();
    assert_eq!(store.overlays(host).await.unwrap(), [overlay]);
    store.delete_overlay(vm, host, di).await.unwrap();
    store.delete_overlay(vm, host, di).await.unwrap();
    assert_eq!(store.overlays(host).await.unwrap(), []);
}

pub(super) async fn a_home_has_one_writer(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host) = (world.vm.id, world.host.id);
    let other = store.add_host("node2", "192.0.2.2").await.unwrap().id;
    assert!(store.claim_home("h", vm, host, Run(1)).await.unwrap());
    assert!(store.claim_home("h", vm, host, Run(2)).await.unwrap());
    assert!(!store.claim_home("h", vm, other, Run(3)).await.unwrap());
    assert!(!store.claim_home("h", VmId(9), host, Run(3)).await.unwrap());
    let claim = HomeClaim { home: "h".into(), vm, host, run: Run(2) };
    assert_eq!(store.home_claims(host).await.unwrap(), [claim]);
    // Only the holder can release it.
    store.release_home("h", vm, other).await.unwrap();
    assert!(!store.claim_home("h", vm, other, Run(3)).await.unwrap());
    store.release_home("h", vm, host).await.unwrap();
    assert!(store.claim_home("h", vm, other, Run(3)).await.unwrap());
    assert!(store.claim_home("i", vm, HostId(9), Run(3)).await.is_err());
}
