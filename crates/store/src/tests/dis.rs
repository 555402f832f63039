//! Images and their tags.

use model::{
    DiId, OsfId, Run,
    di::Tag,
    vm::{Power, Seen},
};

use super::{Database, NOW, TENANT, add_di, seen, want, world};
use crate::{Error, Store};

/// The tags of an OSF as `name>image`, fixed ones with `!`.
async fn tags(store: &Store, osf: OsfId) -> String {
    let show = |tag: &Tag| format!("{}{}>{}", tag.name, if tag.fixed { "!" } else { "" }, tag.di);
    let tags = store.tags_of(osf).await.unwrap();
    tags.iter().map(show).collect::<Vec<_>>().join(" ")
}

pub(super) async fn versions_and_tags(Database { store, .. }: Database) {
    let osf = store.add_osf(TENANT, &crate::NewOsf::new("debian", 2048)).await.unwrap().id;
    let first = add_di(&store, osf, None).await;
    assert_eq!((first.version.as_str(), first.path.as_str()), ("2026-03-09-000", "1-d.tar.gz"));
    assert_eq!((first.sha256.as_str(), first.bytes, first.kind.as_str()), ("ab12", 5, "tar.gz"));
    assert_eq!(first.added_at, NOW);
    let second = add_di(&store, osf, None).await;
    assert_eq!(second.version, "2026-03-09-001");
    let third = add_di(&store, osf, Some("spring")).await;
    assert_eq!(
        tags(&store, osf).await,
        "2026-03-09-000!>1 default>1 2026-03-09-001!>2 head>3 spring!>3"
    );
    assert_eq!(store.dis(TENANT).await.unwrap(), [first.clone(), second.clone(), third.clone()]);
    assert_eq!(store.di(second.id).await.unwrap(), Some(second.clone()));
    assert_eq!(store.di(DiId(9)).await.unwrap(), None);
    assert_eq!(store.resolve_tag(osf, "head").await.unwrap(), Some(third));
    assert_eq!(store.resolve_tag(osf, "default").await.unwrap(), Some(first));
    assert_eq!(store.resolve_tag(osf, "2026-03-09-001").await.unwrap(), Some(second));
    assert_eq!(store.resolve_tag(osf, "winter").await.unwrap(), None);

    for taken in ["spring", "head", "default"] {
        let day = (2026, 3, 9);
        let error = store
            .add_di(NOW, TENANT, osf, Some(taken), day, "d.tar", "00", 1, "tar")
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), format!("tag {taken} exists already"));
    }
    let error = store
        .add_di(NOW, TENANT, OsfId(9), None, (2026, 3, 9), "d.tar", "00", 1, "tar")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no OSF 9");
    // Another OSF has tags of its own.
    let other = store.add_osf(TENANT, &crate::NewOsf::new("other", 2048)).await.unwrap().id;
    assert_eq!(add_di(&store, other, None).await.version, "2026-03-09-000");
    assert_eq!(store.tags().await.unwrap().len(), 5 + 3);
}

pub(super) async fn tags_move_unless_they_are_versions(Database { store, .. }: Database) {
    let osf = store.add_osf(TENANT, &crate::NewOsf::new("debian", 2048)).await.unwrap().id;
    let one = add_di(&store, osf, Some("one")).await.id;
    let two = add_di(&store, osf, Some("two")).await.id;
    store.tag_di(two, "default").await.unwrap();
    store.tag_di(one, "test").await.unwrap();
    store.tag_di(one, "test").await.unwrap();
    assert_eq!(tags(&store, osf).await, "one!>1 test>1 default>2 head>2 two!>2");
    store.tag_di(two, "test").await.unwrap();
    store.tag_di(one, "one").await.unwrap();
    assert_eq!(tags(&store, osf).await, "one!>1 default>2 head>2 test>2 two!>2");

    let error = store.tag_di(two, "one").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tag one is the version of image 1: it can be neither moved nor removed"
    );
    assert!(matches!(store.untag_di(one, "one").await, Err(Error::FixedTag { di: DiId(1), .. })));
    assert!(matches!(store.untag_di(one, "test").await, Err(Error::NotFound { .. })));
    assert!(matches!(store.tag_di(DiId(9), "test").await, Err(Error::NotFound { .. })));
    store.untag_di(two, "test").await.unwrap();
    assert_eq!(tags(&store, osf).await, "one!>1 default>2 head>2 two!>2");
}

pub(super) async fn deleting_hands_tags_on(Database { store, .. }: Database) {
    let osf = store.add_osf(TENANT, &crate::NewOsf::new("debian", 2048)).await.unwrap().id;
    let mut ids = Vec::new();
    for version in ["one", "two", "three"] {
        ids.push(add_di(&store, osf, Some(version)).await.id);
    }
    store.tag_di(ids[2], "default").await.unwrap();
    store.tag_di(ids[2], "test").await.unwrap();
    store.delete_di(ids[2]).await.unwrap();
    assert_eq!(tags(&store, osf).await, "one!>1 default>2 head>2 two!>2");
    store.delete_di(ids[0]).await.unwrap();
    assert_eq!(tags(&store, osf).await, "default>2 head>2 two!>2");
    store.delete_di(ids[1]).await.unwrap();
    assert_eq!(tags(&store, osf).await, "");
    assert!(matches!(store.delete_di(ids[1]).await, Err(Error::NotFound { .. })));
}

pub(super) async fn used_images_stay(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host, di) = (world.vm.id, world.host.id, world.di.id);
    let refused = "image 1 is in use by VM desk";
    want(&store, vm, Power::On, host, di).await;
    assert_eq!(store.delete_di(di).await.unwrap_err().to_string(), refused);
    // Still on its way down.
    want(&store, vm, Power::Off, host, di).await;
    store.put_observed(&seen(vm, host, Seen::Stopping)).await.unwrap();
    assert_eq!(store.delete_di(di).await.unwrap_err().to_string(), refused);
    // Down, but what it wrote is kept.
    store.put_observed(&seen(vm, host, Seen::Nothing)).await.unwrap();
    store.put_overlay(vm, host, di, Run(2), "btrfs", 7).await.unwrap();
    let error = store.delete_di(di).await.unwrap_err();
    assert_eq!(error.to_string(), "image 1 is in use by what is stored of VM 1");
    let before = store.desired(vm).await.unwrap().unwrap();
    assert_eq!(before.di, Some(di));
    store.delete_overlay(vm, host, di).await.unwrap();
    store.delete_di(di).await.unwrap();
    let after = store.desired(vm).await.unwrap().unwrap();
    assert_eq!((after.di, after.revision.0), (None, before.revision.0 + 1));
}
