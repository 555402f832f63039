//! What is seen.

use model::{
    HostId, Reason, Run, Timestamp,
    reason::Code,
    vm::{EndKind, Ended, Observed, Seen},
};

use super::{Database, NOW, seen, world};
use crate::Store;

pub(super) async fn what_is_seen_comes_back(Database { store, .. }: Database) {
    let world = world(&store).await;
    let (vm, host) = (world.vm.id, world.host.id);
    let kinds = [EndKind::ShutDown, EndKind::Crashed];
    let all =
        [Seen::Nothing, Seen::Preparing, Seen::Starting, Seen::Running, Seen::Stopping];
    for (seen, kind) in all.into_iter().zip(kinds.into_iter().cycle()) {
        let full = Observed {
            vm,
            host,
            run: Run(3),
            seen,
            seen_at: Timestamp(4),
            waiting_for: Some("unpack".into()),
            reason: Some(Reason::new(Code::StorageFull, NOW).with("path", "/srv/\"é\"\n")),
            attempts: 2,
            next_try: Some(Timestamp(9)),
            ended: Some(Ended { run: Run(2), kind, at: Timestamp(1) }),
        };
        store.put_observed(&full).await.unwrap();
        assert_eq!(store.observed(vm).await.unwrap(), [full]);
    }
    let other = store.add_host("node2", "192.0.2.2").await.unwrap().id;
    let here = super::seen(vm, host, Seen::Running);
    let there = super::seen(vm, other, Seen::Nothing);
    store.put_observed(&there).await.unwrap();
    store.put_observed(&here).await.unwrap();
    assert_eq!(store.observed(vm).await.unwrap(), [here.clone(), there.clone()]);
    assert_eq!(store.all_observed().await.unwrap(), [here, there.clone()]);
    store.delete_observed(vm, host).await.unwrap();
    store.delete_observed(vm, host).await.unwrap();
    assert_eq!(store.all_observed().await.unwrap(), [there]);
    assert!(store.put_observed(&super::seen(vm, HostId(9), Seen::Nothing)).await.is_err());
}

/// The same row again, or one that loses its race, is no change that anybody is woken for.
pub(super) async fn the_same_again_changes_nothing(database: Database) {
    let store = &database.store;
    let world = world(store).await;
    let row = seen(world.vm.id, world.host.id, Seen::Running);
    store.put_observed(&row).await.unwrap();
    let mut changes = Changes::of(&database.url).await;
    let desired = store.desired(world.vm.id).await.unwrap().unwrap();
    store.put_observed(&row).await.unwrap();
    assert!(!store.set_desired(&desired, model::Revision(7)).await.unwrap());
    store.delete_observed(world.vm.id, HostId(9)).await.unwrap();
    assert!(!changes.heard(store).await);
    let later = Observed { seen_at: NOW.plus_millis(1), ..row };
    store.put_observed(&later).await.unwrap();
    assert!(changes.heard(store).await);
}

/// What the database itself tells another connection of changes.
enum Changes {
    Sqlite(Box<sqlx::SqliteConnection>, i64),
    Postgres(Box<sqlx::postgres::PgListener>),
}

impl Changes {
    async fn of(url: &str) -> Self {
        use sqlx::Connection;
        if url.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(url).await.unwrap();
            let version = version(&mut connection).await;
            Self::Sqlite(Box::new(connection), version)
        } else {
            let mut listener = sqlx::postgres::PgListener::connect(url).await.unwrap();
            listener.listen("qvd").await.unwrap();
            Self::Postgres(Box::new(listener))
        }
    }

    /// Whether anything changed since the last time.
    async fn heard(&mut self, store: &Store) -> bool {
        match self {
            Self::Sqlite(connection, before) => {
                let after = version(connection).await;
                let changed = after != *before;
                *before = after;
                changed
            }
            Self::Postgres(listener) => {
                // Comes after everything that was said before.
                let crate::database::Db::Postgres(pool) = &store.db else { panic!("not SQLite") };
                sqlx::query("NOTIFY qvd, 'end'").execute(pool).await.unwrap();
                let mut changed = false;
                while listener.recv().await.unwrap().payload() != "end" {
                    changed = true;
                }
                changed
            }
        }
    }
}

async fn version(connection: &mut sqlx::SqliteConnection) -> i64 {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.unwrap()
}
