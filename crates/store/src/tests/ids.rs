//! No id is ever given twice: not after the newest row is deleted, nor after a restart.

use std::collections::BTreeSet;

use model::network::VmNetwork;
use sqlx::AssertSqlSafe;

use super::{Database, TENANT, add_user, add_vm, network, world};
use crate::{Result, Store, database::{change, read}};

/// The tables whose rows have ids, as the migrations say.
fn tables() -> BTreeSet<&'static str> {
    let sql = include_str!("../../migrations/0001_tables.sql");
    let mut tables = BTreeSet::new();
    let mut table = "";
    for line in sql.lines() {
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            table = rest.trim_end_matches(" (");
        } else if line.contains("@KEY@") && line.trim_start().starts_with("id ") {
            tables.insert(table);
        }
    }
    tables
}

async fn newest(store: &Store, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT MAX(id) FROM {table}"));
    let id = read!(store, on => sqlx::query_scalar(sql).fetch_one(on).await);
    id.unwrap()
}

async fn run(store: &Store, sql: String) -> Result<()> {
    change!(store, on => {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *on).await?;
    });
    Ok(())
}

/// Adds one more row to a table.
async fn add(store: &Store, table: &str, count: usize) {
    let name = format!("new{count}");
    let user = store.users(TENANT).await.unwrap()[0].id;
    let osf = store.osfs(TENANT).await.unwrap()[0].id;
    let host = store.hosts().await.unwrap()[0].id;
    let vm = store.vms(TENANT).await.unwrap()[0].id;
    match table {
        "tenants" => run(store, format!("INSERT INTO tenants (name) VALUES ('{name}')"))
            .await
            .unwrap(),
        "users" => drop(add_user(store, &name).await),
        "hosts" => drop(store.add_host(&name, "192.0.2.2").await.unwrap()),
        "osfs" => drop(store.add_osf(TENANT, &crate::NewOsf::new(&name, 1)).await.unwrap()),
        "dis" => drop(super::add_di(store, osf, Some(&name)).await),
        "vms" => drop(add_vm(store, &name, user, osf).await),
        "connections" => drop(
            store.add_connection(super::connection(vm, user, &name)).await.unwrap(),
        ),
        "operations" => drop(store.add_operation(host, "a", "b", "{}").await.unwrap()),
        "audit" => store.audit("w", &super::audit::entry("a")).await.unwrap(),
        other => panic!("table {other} has ids and no case here"),
    }
}

pub(super) async fn no_id_is_given_twice(database: Database) {
    let mut store = database.store;
    let _: VmNetwork = network();
    world(&store).await;
    assert_eq!(tables().len(), 9, "{:?}", tables());
    for table in tables() {
        let mut given = BTreeSet::new();
        for count in 0..3 {
            add(&store, table, count).await;
            let id = newest(&store, table).await;
            assert!(given.insert(id), "{table} gave {id} twice");
            run(&store, format!("DELETE FROM {table} WHERE id = {id}")).await.unwrap();
            if count == 1 {
                store.close().await;
                store = Store::open(&database.url).await.unwrap();
            }
        }
    }
}

pub(super) async fn a_backup_is_gone_on_from_with_fresh_numbers(database: Database) {
    let Database { store, .. } = database;
    let before = world(&store).await.vm;
    let installation = store.installation().await.unwrap();
    let given = store.vms_given(&installation).await.unwrap();
    let run = store.desired(before.id).await.unwrap().unwrap().run;
    store.go_on_from_backup().await.unwrap();
    let user = add_user(&store, "later").await;
    let vm = add_vm(&store, "later", user.id, before.osf).await;
    assert!(vm.id.0 > before.id.0 + 999 && user.id.0 > before.user.0 + 999);
    assert!(store.vms_given(&installation).await.unwrap() > given + 999);
    assert_eq!(store.desired(before.id).await.unwrap().unwrap().run.0, run.0 + 1000);
}
