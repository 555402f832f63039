//! `qa config`.

use crate::installation::Installation;

#[tokio::test]
async fn settings_are_set_shown_and_taken_back() {
    let it = Installation::new().await;
    let said = it.qa("config set vm.overlay.persistent=1 vm.start.timeout = 60").await.ok();
    assert!(said.contains("vm.overlay.persistent=1 (read by hkd at each start of a VM)\n"));
    let shown = it.qa("config get vm.start.timeout vm.overlay.persistent").await.ok();
    assert_eq!(shown, "vm.overlay.persistent=1\nvm.start.timeout=60\n");
    let all = it.qa("config get").await.ok();
    assert!(all.contains("\nvm.start.timeout=60\n") && !all.contains("internal."));
    let images = format!("path.storage.images={}", it.path("storage/images").display());
    assert!(all.lines().any(|line| line == images), "{all}");
    assert!(it.qa("config get internal.names.prefix").await.ok().contains("=qvd"));

    let json = it.qa("config get -o json vm.start.timeout nodename user.uid.min").await.ok();
    let configs: serde_json::Value = serde_json::from_str(&json).unwrap();
    let origins: Vec<&str> =
        configs.as_array().unwrap().iter().map(|one| one["origin"].as_str().unwrap()).collect();
    assert_eq!(origins, ["file", "default", "cluster"]);

    assert_eq!(it.qa("config del vm.start.timeout").await.ok(), "1 config entry deleted.\n");
    assert_eq!(it.qa("config get vm.start.timeout").await.ok(), "vm.start.timeout=270\n");
    let said = it.qa("config del vm.start.timeout").await.ok();
    assert_eq!(said, "0 config entries deleted.\n", "it was not set");
    let said = it.qa_with("config del", "y\n").await;
    assert_eq!(said.out, "1 config entry deleted.\n");
    assert!(it.store.configs().await.unwrap().is_empty());
    let rows = it.store.audit_tail(10).await.unwrap();
    let noted: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| (row.entry.target.as_str(), row.entry.after.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        noted,
        [
            ("vm.overlay.persistent", "\"1\""),
            ("vm.start.timeout", "\"60\""),
            ("vm.start.timeout", "null"),
            ("vm.overlay.persistent", "null"),
        ]
    );
    it.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_then_nothing_is_set() {
    let it = Installation::new().await;
    let cases = [
        (
            "config set vm.start.timeout=60 vm.overlay.persistant=1",
            "qa: there is no setting `vm.overlay.persistant`: did you mean `vm.overlay.persistent`?\n",
        ),
        (
            "config set vm.start.timeout=60 vm.overlay.persistent=maybe",
            "qa: `maybe` is no value for vm.overlay.persistent: 0 or 1\n",
        ),
        (
            "config set vm.start.timeout=60 l7r.port=443",
            "qa: l7r.port can be set only in the file node.conf of each host\n    \
             edit /etc/qvd/node.conf on the host and restart qvd there\n",
        ),
        (
            "config set l7r.ssl.key=x",
            "qa: l7r.ssl.key is not set as a setting: keys and certificates are kept apart\n    \
             `qa config ssl key=FILE cert=FILE`\n",
        ),
        (
            "config set path.storage.images=${path.storage.images}/x",
            "qa: the value of path.storage.images refers to itself, or to more than 64 others\n",
        ),
        (
            "config get qqq",
            "qa: there is no setting `qqq`\n    `qa config get` shows all settings\n",
        ),
    ];
    for (line, error) in cases {
        assert_eq!(it.qa(line).await.failed(1), error, "{line}");
    }
    assert!(it.store.configs().await.unwrap().is_empty());
    it.end().await;
}

#[tokio::test]
async fn key_and_certificate_must_belong_together() {
    use std::os::unix::fs::PermissionsExt as _;
    let it = Installation::new().await;
    let own = rcgen::generate_simple_self_signed(["qvd.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["qvd.example".to_owned()]).unwrap();
    let cert = it.file("cert.pem", own.cert.pem().as_bytes());
    let key = it.file("key.pem", own.signing_key.serialize_pem().as_bytes());
    let wrong = it.file("wrong.pem", other.signing_key.serialize_pem().as_bytes());
    let line =
        |key: &std::path::Path| format!("config ssl key={} cert={}", key.display(), cert.display());
    let said = it.qa(&line(&wrong)).await.failed(1);
    assert!(said.starts_with("qa: key and certificate together cannot be used"), "{said}");
    assert!(it.store.ssl_config().await.unwrap().is_empty());
    assert!(it.names_in("ssl").is_empty());

    let said = it.qa(&line(&key)).await.ok();
    assert!(said.contains("takes this certificate within seconds; its SHA-256 is "), "{said}");
    assert_eq!(it.names_in("ssl"), ["cert.pem", "key.pem"]);
    let handed = std::fs::read_to_string(it.path("ssl/key.pem")).unwrap();
    assert_eq!(handed, own.signing_key.serialize_pem());
    let mode = std::fs::metadata(it.path("ssl/key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let rows = it.store.audit_tail(1).await.unwrap();
    assert!(!format!("{rows:?}").contains("PRIVATE"));
    it.end().await;
}
