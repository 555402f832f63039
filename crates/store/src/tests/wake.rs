//! Wake-ups reach other processes, which other pools of connections stand for here.

use std::time::Duration;

use super::{Database, add_user, hosts::status, network, world};
use crate::{Store, VmEdit, Wake};

/// Waits for a wake-up, as long as it may take on a busy machine.
pub(super) async fn heard(wake: &mut Wake) {
    tokio::time::timeout(Duration::from_secs(30), wake.changed())
        .await
        .expect("no wake-up came within 30 seconds");
}

pub(super) async fn others_hear_of_changes(database: Database) {
    let reader = Store::open(&database.url).await.unwrap();
    let mut wake = reader.wake();
    let mut second = reader.wake();
    // The first one says that there is somebody to listen from now on.
    heard(&mut wake).await;
    heard(&mut second).await;
    let writer = &database.store;
    let world = world(writer).await;
    heard(&mut wake).await;
    heard(&mut second).await;
    assert_eq!(reader.vms(super::TENANT).await.unwrap(), std::slice::from_ref(&world.vm));

    // The wake-up outlives the store it came from.
    drop(reader);
    let edit = VmEdit { ip: Some(network().start), ..VmEdit::default() };
    writer.edit_vm(world.vm.id, &edit).await.unwrap();
    heard(&mut wake).await;
    add_user(writer, "bob").await;
    heard(&mut second).await;
}

/// A host says every few seconds that it lives, and no other process does anything for that.
pub(super) async fn a_sign_of_life_wakes_nobody(database: Database) {
    let host = database.store.add_host("node1", "192.0.2.1").await.unwrap().id;
    let mut status = status(host);
    let reader = Store::open(&database.url).await.unwrap();
    let mut wake = reader.wake();
    heard(&mut wake).await;
    database.store.put_host_status(&status).await.unwrap();
    heard(&mut wake).await;
    for _ in 0..3 {
        status.renewed_at = status.renewed_at.plus_millis(4000);
        database.store.put_host_status(&status).await.unwrap();
    }
    let woken = tokio::time::timeout(Duration::from_millis(500), wake.changed()).await;
    assert!(woken.is_err(), "a sign of life was heard");
    assert_eq!(reader.host_statuses().await.unwrap(), std::slice::from_ref(&status));
    status.problems.push("it is slow".to_owned());
    database.store.put_host_status(&status).await.unwrap();
    heard(&mut wake).await;
}
