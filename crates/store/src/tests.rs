//! What the store promises, on SQLite and on a real PostgreSQL.
//!
//! Every case gets an empty database of its own. One test for each database runs them all and names
//! those that fail; the PostgreSQL server is started by the test and stopped with it.

use std::{future::Future, pin::Pin};

use model::{
    DiId, HostId, OsfId, Revision, Run, TenantId, Timestamp, UserId, VmId,
    di::Di,
    host::Host,
    network::VmNetwork,
    osf::Osf,
    user::User,
    vm::{Desired, Observed, Power, Seen, Vm},
};

use crate::{NewConnection, Store};

mod opening;
mod postgres;
mod two_users;

/// An empty database for one case.
struct Database {
    store: Store,
    url: String,
}

type Case = fn(Database) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! contract {
    ($($module:ident: $($case:ident),+;)+) => {
        $(mod $module;)+

        const CASES: &[(&str, Case)] = &[$($(
            (
                concat!(stringify!($module), "::", stringify!($case)),
                |database| Box::pin($module::$case(database)),
            ),
        )+)+];
    };
}

contract! {
    audit: chains_hold_and_show_any_change, writers_have_chains_of_their_own;
    configs: settings_are_changed_and_taken_back, pems_are_replaced_together_and_never_shown;
    connections: the_newest_wins, an_old_name_holds_until_the_new_one_is_used,
        the_newest_goes_on_even_if_it_was_over;
    desired: only_the_revision_expected_is_changed, rows_of_a_host;
    dis: versions_and_tags, tags_move_unless_they_are_versions, deleting_hands_tags_on,
        used_images_stay;
    hosts: life_of_a_host, status_and_lease, the_clock_is_the_servers, used_hosts_stay;
    ids: no_id_is_given_twice, a_backup_is_gone_on_from_with_fresh_numbers;
    observed: what_is_seen_comes_back, the_same_again_changes_nothing;
    operations: progress_of_long_work, properties_of_everything;
    osfs: life_of_an_osf;
    overlays: overlays_are_noted_and_forgotten, a_home_has_one_writer;
    races: one_of_eight_sets_what_is_desired, numbers_and_addresses_are_given_once,
        newest_image_is_head, one_claim_one_connection_one_chain;
    statements: every_text_is_understood, every_table_has_its_writers;
    users: life_of_a_user, numbers_of_users_are_never_given_again, used_users_stay;
    vms: life_of_a_vm, addresses_of_vms, only_a_vm_that_is_down_gets_another_address,
        running_vms_stay;
    wake: others_hear_of_changes, a_sign_of_life_wakes_nobody;
    work: a_host_sees_what_concerns_it, an_unreadable_row_hides_one_vm;
}

/// Runs every case on a database made by `make`, and names those that fail.
async fn run_all<M>(cases: &[(&str, Case)], mut make: impl FnMut() -> M)
where
    M: Future<Output = Database>,
{
    let mut failed = Vec::new();
    for (name, case) in cases {
        let database = make().await;
        println!("{name}");
        if tokio::spawn(case(database)).await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "these cases fail: {}", failed.join(", "));
}

#[tokio::test]
async fn contract_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    run_all(CASES, || {
        count += 1;
        let url = format!("sqlite:{}/{count}.db", folder.path().display());
        async move { Database { store: Store::migrate(&url).await.unwrap(), url } }
    })
    .await;
}

#[tokio::test]
async fn contract_on_postgres() {
    const ONLY: &[(&str, Case)] = &[
        ("postgres::roles_write_what_is_theirs", |database| {
            Box::pin(postgres::roles_write_what_is_theirs(database))
        }),
        ("postgres::a_lost_listener_comes_back", |database| {
            Box::pin(postgres::a_lost_listener_comes_back(database))
        }),
    ];
    let server = postgres::Server::start();
    let template = server.url("migrated");
    server.run("CREATE DATABASE migrated").await;
    Store::migrate(&template).await.unwrap().close().await;
    let mut count = 0;
    let all: Vec<(&str, Case)> = CASES.iter().chain(ONLY).copied().collect();
    run_all(&all, || {
        count += 1;
        let name = format!("case_{count}");
        let server = &server;
        async move {
            server.run(&format!("CREATE DATABASE {name} TEMPLATE migrated")).await;
            let url = server.url(&name);
            Database { store: Store::open(&url).await.unwrap(), url }
        }
    })
    .await;
}

/// A moment of the tests.
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// The one tenant.
const TENANT: TenantId = TenantId::DEFAULT;

fn network() -> VmNetwork {
    VmNetwork::new("10.9.0.4".parse().unwrap(), "24", None).unwrap()
}

/// One of everything: a user with a VM of an OSF with one image, and a host.
struct World {
    user: User,
    host: Host,
    osf: Osf,
    di: Di,
    vm: Vm,
}

async fn world(store: &Store) -> World {
    let user = add_user(store, "ada").await;
    let host = store.add_host("node1", "192.0.2.1").await.unwrap();
    let osf = store.add_osf(TENANT, &crate::NewOsf::new("debian", 2048)).await.unwrap();
    let di = add_di(store, osf.id, None).await;
    let vm = add_vm(store, "desk", user.id, osf.id).await;
    World { user, host, osf, di, vm }
}

async fn add_user(store: &Store, login: &str) -> User {
    store.add_user(NOW, TENANT, &login.parse().unwrap(), None, 10_000).await.unwrap()
}

async fn add_di(store: &Store, osf: OsfId, version: Option<&str>) -> Di {
    let day = (2026, 3, 9);
    store.add_di(NOW, TENANT, osf, version, day, "d.tar.gz", "ab12", 5, "tar.gz").await.unwrap()
}

async fn add_vm(store: &Store, name: &str, user: UserId, osf: OsfId) -> Vm {
    store.add_vm(NOW, TENANT, name, user, osf, "default", None, &network()).await.unwrap()
}

/// Wants a VM on or off.
async fn want(store: &Store, vm: VmId, power: Power, host: HostId, di: DiId) -> Desired {
    let old = store.desired(vm).await.unwrap().unwrap();
    let expected = old.revision;
    let new = Desired {
        power,
        host: Some(host),
        di: Some(di),
        run: old.run.next(),
        asked_by: "admin".into(),
        asked_at: NOW,
        ..old
    };
    assert!(store.set_desired(&new, expected).await.unwrap());
    Desired { revision: Revision(expected.0 + 1), ..new }
}

/// A connection of a user to a VM.
fn connection(vm: VmId, user: UserId, name: &str) -> NewConnection<'_> {
    NewConnection {
        vm,
        run: Run(1),
        name,
        resumes: None,
        incarnation: "node1",
        client: "192.0.2.9",
        user,
        since: NOW,
    }
}

fn seen(vm: VmId, host: HostId, seen: Seen) -> Observed {
    Observed {
        vm,
        host,
        run: Run(1),
        seen,
        seen_at: NOW,
        waiting_for: None,
        reason: None,
        attempts: 0,
        next_try: None,
        ended: None,
    }
}
