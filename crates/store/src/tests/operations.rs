//! Long work, and properties.

use model::{HostId, OperationId, Reason, reason::Code};

use super::{Database, NOW, world};
use crate::{Noun, OperationStatus};

pub(super) async fn progress_of_long_work(Database { store, .. }: Database) {
    let host = store.add_host("node1", "192.0.2.1").await.unwrap().id;
    let id = store.add_operation(host, "image.fetch", "di 3", "{\"force\":true}").await.unwrap();
    let other = store.add_operation(host, "image.fetch", "di 4", "{}").await.unwrap();
    let new = store.operation(id).await.unwrap().unwrap();
    assert_eq!((new.host, new.kind.as_str(), new.target.as_str()), (host, "image.fetch", "di 3"));
    assert_eq!((new.arguments.as_str(), new.status), ("{\"force\":true}", None));
    store.put_operation_status(id, 40, None, None).await.unwrap();
    let reason = Reason::new(Code::StorageFull, NOW).with("path", "/srv");
    store.put_operation_status(id, 140, Some("failed"), Some(&reason)).await.unwrap();
    let status =
        OperationStatus { progress: 100, result: Some("failed".into()), reason: Some(reason) };
    let all = store.operations().await.unwrap();
    assert_eq!(all.iter().map(|o| o.id).collect::<Vec<_>>(), [id, other]);
    assert_eq!(all[0].status.as_ref(), Some(&status));
    assert_eq!(all[1].status, None);
    assert!(store.delete_operation(id).await.unwrap());
    assert!(!store.delete_operation(id).await.unwrap());
    assert_eq!(store.operation(id).await.unwrap(), None);
    assert!(store.add_operation(HostId(9), "a", "b", "{}").await.is_err());
    let error = store.put_operation_status(OperationId(9), 1, None, None).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no operation 9");
}

pub(super) async fn properties_of_everything(Database { store, .. }: Database) {
    let world = world(&store).await;
    assert_eq!(Noun::ALL.len(), 5);
    for noun in Noun::ALL {
        let id = 1;
        store.set_property(*noun, id, "room", "4").await.unwrap();
        store.set_property(*noun, id, "room", "5").await.unwrap();
        store.set_property(*noun, id, "desk", "b").await.unwrap();
        let pairs = [("desk", "b"), ("room", "5")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(store.properties(*noun, id).await.unwrap(), pairs);
        assert!(store.del_property(*noun, id, "desk").await.unwrap());
        assert!(!store.del_property(*noun, id, "desk").await.unwrap());
        assert!(store.set_property(*noun, 9, "room", "4").await.is_err());
    }
    // They go with what they are of, and with nothing else.
    store.delete_vm(world.vm.id).await.unwrap();
    assert_eq!(store.properties(Noun::Vm, 1).await.unwrap(), []);
    assert_eq!(store.properties(Noun::User, 1).await.unwrap().len(), 1);
}
