//! Settings, and the router's certificate.

use std::collections::{BTreeMap, HashMap};

use super::Database;
use crate::{ChangedConfig, Pem};

pub(super) async fn settings_are_changed_and_taken_back(Database { store, .. }: Database) {
    let some = |text: &str| Some(text.to_owned());
    let changes = |pairs: &[(&str, Option<&str>)]| -> BTreeMap<String, Option<String>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    };
    assert_eq!(store.configs().await.unwrap(), []);
    let both = changes(&[("vm.network.dns", Some("192.0.2.53")), ("l7r.port", Some("443"))]);
    let done = store.change_configs(&both).await.unwrap();
    assert_eq!(done.iter().map(|one| &one.key).collect::<Vec<_>>(), ["l7r.port", "vm.network.dns"]);
    store.set_config("l7r.port", "8443").await.unwrap();
    let pairs = [("l7r.port", "8443"), ("vm.network.dns", "192.0.2.53")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(store.configs().await.unwrap(), pairs);

    // What is so already is not among what was changed.
    let mixed = changes(&[("l7r.port", None), ("vm.network.dns", Some("192.0.2.53")), ("x", None)]);
    let done = store.change_configs(&mixed).await.unwrap();
    let before = some("8443");
    assert_eq!(done, [ChangedConfig { key: "l7r.port".to_owned(), before, after: None }]);
    assert_eq!(store.change_configs(&mixed).await.unwrap(), []);
    assert_eq!(store.configs().await.unwrap(), pairs[1..]);
}

pub(super) async fn pems_are_replaced_together_and_never_shown(Database { store, .. }: Database) {
    assert_eq!(store.ssl_config().await.unwrap(), HashMap::new());
    let pems = |names: &[&str], text: &str| -> HashMap<String, Pem> {
        names.iter().map(|name| ((*name).to_owned(), Pem::new(text))).collect()
    };
    let first = pems(&["l7r.ssl.cert", "l7r.ssl.key", "l7r.ssl.ca"], "first");
    store.set_ssl_config(&first).await.unwrap();
    let found = store.ssl_config().await.unwrap();
    assert_eq!(found, first);
    assert!(!format!("{found:?}").contains("first"));
    let second = pems(&["l7r.ssl.cert", "l7r.ssl.key"], "second");
    store.set_ssl_config(&second).await.unwrap();
    assert_eq!(store.ssl_config().await.unwrap(), second);
    assert_eq!(second["l7r.ssl.key"].as_str(), "second");
}
