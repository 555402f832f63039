//! Settings, and the router's certificate.

use std::collections::HashMap;

use super::Database;
use crate::Pem;

pub(super) async fn settings_are_set_changed_and_taken_back(Database { store, .. }: Database) {
    assert_eq!(store.configs().await.unwrap(), []);
    store.set_config("vm.network.dns", "192.0.2.53").await.unwrap();
    store.set_config("l7r.port", "443").await.unwrap();
    store.set_config("l7r.port", "8443").await.unwrap();
    let pairs = [("l7r.port", "8443"), ("vm.network.dns", "192.0.2.53")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(store.configs().await.unwrap(), pairs);
    assert!(store.del_config("l7r.port").await.unwrap());
    assert!(!store.del_config("l7r.port").await.unwrap());
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
