//! Opening databases that are not there, not ours or not of our version.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{Error, Store, database::change};

#[tokio::test]
async fn a_database_is_made_once_and_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/db/qvd.db", folder.path().display());
    let error = Store::open(&url).await.unwrap_err();
    let empty = format!("the database {url} is empty or not there: if there was one, put it back");
    assert!(error.to_string().starts_with(&empty), "{error}");
    let first = Store::migrate(&url).await.unwrap();
    let id = first.installation().await.unwrap();
    assert_eq!(id.len(), 36);
    let again = Store::migrate(&url).await.unwrap();
    let opened = Store::open(&url).await.unwrap();
    for store in [again, opened] {
        assert_eq!(store.installation().await.unwrap(), id);
    }
    let mode =
        |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("db"), 0o2770);
    assert_eq!(mode("db/qvd.db"), 0o660);

    let other = format!("sqlite:{}/db/other.db", folder.path().display());
    let other = Store::migrate(&other).await.unwrap();
    assert_ne!(other.installation().await.unwrap(), id);
}

#[tokio::test]
async fn two_that_migrate_at_once_make_one_database() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/qvd.db", folder.path().display());
    let racers: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                Store::migrate(&url).await.unwrap().installation().await.unwrap()
            })
        })
        .collect();
    let mut ids = Vec::new();
    for racer in racers {
        ids.push(racer.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    async fn tamper(store: &Store, sql: &'static str) -> crate::Result<()> {
        change!(store, on => {
            sqlx::query(sql).execute(&mut *on).await?;
        });
        Ok(())
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/qvd.db", folder.path().display());
    let store = Store::migrate(&url).await.unwrap();
    tamper(&store, "UPDATE _sqlx_migrations SET version = version + 96").await.unwrap();
    for error in [Store::open(&url).await.unwrap_err(), Store::migrate(&url).await.unwrap_err()] {
        assert!(error.to_string().ends_with("install a newer version of qvd"), "{error}");
    }
    tamper(&store, "DELETE FROM _sqlx_migrations").await.unwrap();
    let error = Store::open(&url).await.unwrap_err();
    assert!(matches!(error, Error::Schema { found: None, .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_refused_without_its_password() {
    for bad in ["", "qvd.db", "sqlite:", "sqlite:qvd.db", "sqlite:/", "mysql://a:s3cret@b/c"] {
        let error = Store::open(bad).await.unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{bad}: {error}");
        assert!(!error.to_string().contains("s3cret"));
        assert!(Store::migrate(bad).await.is_err());
    }
    let away = "postgres://ada:s3cret@db/qvd?host=/nowhere";
    let error = Store::open(away).await.unwrap_err();
    let said = error.to_string();
    let wanted = "cannot open the database postgres://ada@db/qvd?host=/nowhere: ";
    assert!(said.starts_with(wanted) && said.contains("No such file"), "{said}");
    assert!(!said.contains("s3cret"));
    assert!(!format!("{error:?}").contains("s3cret"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.db");
    fs::write(&file, "this is no database, however long it may be").unwrap();
    assert!(Store::open(&format!("sqlite:{}", file.display())).await.is_err());
}
