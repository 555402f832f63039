//! The daemon binary as an administrator and a service manager meet it.

use std::{os::unix::net::UnixDatagram, time::Duration};

use tests::{Database, World, until};

/// When the api does not run, `qa` says so and how to start it.
#[test]
fn qa_says_how_to_start_the_api() {
    let mut world = World::start(Database::Sqlite);
    world.stop_daemons();
    let why = world.try_qa("vm list").expect_err("nobody answers");
    assert!(why.contains("the api does not run") && why.contains("qvd all"), "{why}");
    world.run_daemons();
    world.end();
}

/// Ready and stop notifications for systemd; an orderly stop leaves desktops running.
#[test]
fn a_service_manager_is_told() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");
    let begun = world.begun("desk");
    world.stop_daemons();
    let path = world.folder().join("manager.sock");
    let manager = UnixDatagram::bind(&path).expect("a manager's socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let hear = || {
        let mut buffer = [0; 256];
        let read = manager.recv(&mut buffer).expect("the daemon tells");
        String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).trim().to_owned()
    };
    world.run_daemons_for(&path);
    assert_eq!(hear(), "READY=1");
    until("the new daemon to know the desktop", Duration::from_secs(20), || {
        match world.state("desk") {
            state if state == "running" => Ok(()),
            state => Err(state),
        }
    });
    world.stop_daemons();
    assert_eq!(hear(), "STOPPING=1");
    world.run_daemons();
    assert_eq!(world.begun("desk"), begun, "the desktop ran on");
    world.end();
}
