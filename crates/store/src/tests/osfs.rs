//! OSFs.

use super::{Database, TENANT, add_di, world};
use crate::{Error, NewOsf, OsfEdit};
use model::osf::Init;

pub(super) async fn life_of_an_osf(Database { store, .. }: Database) {
    let osf = store.add_osf(TENANT, &NewOsf::new("debian", 2048)).await.unwrap();
    assert!(osf.has_home());
    let kiosk = NewOsf { name: "kiosk", memory: 512, user_storage_size: Some(0), nesting: false, init: Init::Own };
    let small = store.add_osf(TENANT, &kiosk).await.unwrap();
    assert!(!small.has_home());
    assert_eq!((osf.nesting, small.nesting), (true, false));
    assert_eq!((osf.init, small.init), (Init::Auto, Init::Own));
    assert_eq!(store.osfs(TENANT).await.unwrap(), [osf.clone(), small.clone()]);
    assert_eq!(store.osf(osf.id).await.unwrap(), Some(osf.clone()));
    assert_eq!(store.osf_by_name(TENANT, "kiosk").await.unwrap(), Some(small.clone()));
    assert_eq!(store.osf_by_name(TENANT, "beos").await.unwrap(), None);
    let taken = store.add_osf(TENANT, &NewOsf::new("kiosk", 1)).await.unwrap_err();
    assert_eq!(taken.to_string(), "OSF kiosk exists already");

    let same = store.edit_osf(osf.id, &OsfEdit::default()).await.unwrap();
    assert_eq!(same, osf);
    let edit = OsfEdit {
        memory: Some(4096),
        user_storage_size: Some(Some(9)),
        nesting: Some(false),
        init: Some(Init::Image),
        name: None,
    };
    let bigger = store.edit_osf(osf.id, &edit).await.unwrap();
    assert_eq!((bigger.memory, bigger.user_storage_size, bigger.nesting), (4096, Some(9), false));
    let edit = OsfEdit {
        name: Some("debian12".into()),
        user_storage_size: Some(None),
        ..OsfEdit::default()
    };
    let renamed = store.edit_osf(osf.id, &edit).await.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.user_storage_size, renamed.nesting), ("debian12", None, false));
    let edit = OsfEdit { name: Some("kiosk".into()), ..OsfEdit::default() };
    assert!(matches!(store.edit_osf(osf.id, &edit).await, Err(Error::Exists { .. })));
    let unknown = store.edit_osf(model::OsfId(9), &edit).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no OSF 9");

    store.delete_osf(small.id).await.unwrap();
    assert!(matches!(store.delete_osf(small.id).await, Err(Error::NotFound { .. })));
    let di = add_di(&store, osf.id, None).await;
    let error = store.delete_osf(osf.id).await.unwrap_err();
    assert_eq!(error.to_string(), format!("OSF 1 is in use by image {}", di.version));
    store.delete_di(di.id).await.unwrap();
    store.delete_osf(osf.id).await.unwrap();
    let world = world(&store).await;
    let error = store.delete_osf(world.osf.id).await.unwrap_err();
    assert!(error.to_string().ends_with("is in use by VM desk"), "{error}");
}
