//! Wake-ups reach other processes, which other pools of connections stand for here.

use std::time::Duration;

use super::{Database, add_user, network, world};
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
