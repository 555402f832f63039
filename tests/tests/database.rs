//! A database that goes away, is slow, full, damaged, and comes back: what runs goes on, each command and
//! the log say what it is and what to do, and all goes on without a person where that is possible.

use std::time::Duration;

use serde_json::Value;
use tests::{Database, World, postgres, program::shell, until};

/// A database that is slow, goes away and comes back: what runs goes on, the error says what it is,
/// daemons that are started meanwhile are started again, and a start that was wanted is made.
#[test]
fn a_database_goes_away_and_comes_back() {
    let mut world = World::quick(Database::Postgres);
    world.add_quick_vm("desk", "ada");
    world.add_quick_vm("later", "ada");
    world.qa("vm start -f name=desk --wait");
    let container = world.container("desk");
    let begun = world.init_of(&container);
    let server = world.folder().join("pg/data/postmaster.pid");
    let postgres = || shell(&format!("head -1 {}", server.display()));
    let all = |signal: &str| {
        let pid = postgres();
        shell(&format!("kill -{signal} {pid} $(pgrep -P {pid})"));
    };

    // A row that none of our programs wrote: what belongs to it is left alone, and the rest goes on.
    let desk = world.id("desk");
    let address =
        world.vm("desk").get("ip").and_then(Value::as_str).expect("an address").to_owned();
    world.sql(&format!("UPDATE vms SET ip = 'here' WHERE id = {desk}; NOTIFY qvd"));
    let told = format!("VM {desk} is left as it is: row {desk} of table vms has an unusable ip");
    until("the row to be told of", Duration::from_secs(20), || {
        if world.log().contains(&told) { Ok(()) } else { Err("not told") }
    });
    assert_eq!(world.in_container(&container, "echo here"), "here");
    world.sql(&format!("UPDATE vms SET ip = '{address}' WHERE id = {desk}; NOTIFY qvd"));
    world.host_says("is left as it is", false);

    // Slow: nobody answers for three seconds, and nothing is lost by it.
    world.qa("vm start -f name=later");
    all("STOP");
    assert_eq!(world.in_container(&container, "sleep 3; echo here"), "here");
    all("CONT");
    world.reaches("later", "running");

    shell(&format!("kill -INT {}", postgres()));
    until("the error to be told", Duration::from_secs(30), || {
        let log = world.log();
        let told = |line: &&str| {
            line.contains("the database does not answer") && line.contains("the database failed: ")
        };
        if log.lines().any(|line| told(&line)) { Ok(()) } else { Err("not told") }
    });
    let hkd = world.daemon_pid("hkd");
    shell(&format!("kill -KILL {hkd}"));
    until("another hkd to fail for want of the database", Duration::from_secs(30), || {
        let log = world.log();
        let failed =
            log.contains("cannot open the database postgres://postgres@127.0.0.1:5432/qvd: ");
        if failed { Ok(()) } else { Err("no word of it") }
    });
    assert_eq!(world.in_container(&container, "echo here"), "here");
    let _server = postgres::serve(world.folder());
    until("the host to be back", Duration::from_mins(1), || {
        world
            .try_qa("host list -o json")
            .and_then(|hosts| if hosts.contains("running") { Ok(()) } else { Err(hosts) })
    });
    world.qa("vm stop -f name=later --wait");
    world.reaches("desk", "running");
    assert_eq!(world.init_of(&container), begun, "the container is the same");
    world.expect_log("WARN", "database");
    world.expect_log("WARN", "exceeded");
    world.expect_log("ERROR", "is left as it is");
    world.expect_log("ERROR", "it ended; it is started again");
    world.end();
}
