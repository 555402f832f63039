//! A desktop on screen: from a stopped VM to a picture, and back.

use std::time::Duration;

use rand::Rng as _;
use tests::{Database, Display, World, until};

/// A first connect to a stopped VM ends with the run's random pattern, pixel by pixel, on the
/// client's X display; a key typed there reaches a terminal and creates a file in the home; after stop
/// and start the file is there and one written to `/etc` is not; after disconnect and reconnect the
/// same program is still running and the pattern is there again.
fn from_stopped_to_picture_and_back(database: Database) {
    let world = World::start(database);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    assert_eq!(world.state("desk"), "stopped");
    let display = Display::start(world.folder(), 51);
    let mut client = world.client(&display, "ada", "desk");
    world.reaches("desk", "running");

    let seed: u64 = rand::rng().random();
    let painter = world.paint("desk", "ada", seed);
    display.shows(seed);
    // While all who were told it still run.
    world.keeps_its_secrets();

    // The same program after disconnect and reconnect.
    client.end();
    until("the picture to go", Duration::from_secs(20), || {
        if display.has_desktop() { Err("a desktop is there") } else { Ok(()) }
    });
    let mut client = world.client(&display, "ada", "desk");
    display.shows(seed);
    assert_eq!(
        world.inside("desk", "pgrep -f '[b]in/paint'"),
        painter,
        "{}",
        world.client_said(&display)
    );

    // A key typed at the client reaches a terminal in the desktop.
    world.inside("desk", &format!("kill {}", painter.replace('\n', " ")));
    let open = "setsid xterm -fullscreen -e sh </dev/null >/dev/null 2>&1 &";
    world.try_in_desktop("desk", "ada", open).expect("a terminal opens");
    until("the terminal", Duration::from_secs(20), || {
        world.try_in_desktop(
            "desk",
            "ada",
            "xdotool search --onlyvisible --class xterm windowfocus",
        )
    });
    let name = format!("typed-{seed:x}");
    until("the typed file", Duration::from_secs(40), || {
        display.types(&format!("touch ~/{name}"));
        world.try_inside("desk", &format!("ls /home/ada/{name}"))
    });
    world.inside("desk", "touch /etc/written && ls /etc/written");
    client.end();

    world.qa("vm stop -f name=desk --wait");
    world.qa("vm start -f name=desk --wait");
    world.inside("desk", &format!("ls /home/ada/{name}"));
    assert!(
        world.try_inside("desk", "ls /etc/written").is_err(),
        "what was written to /etc is gone"
    );
    world.end();
}

/// With SQLite: a first connect to a stopped VM ends with the run's random pattern on the client's
/// display; a key typed there creates a file in the home; after stop and start the file is there and
/// one written to `/etc` is not; after disconnect and reconnect the same program still runs and the
/// pattern is there again.
#[test]
fn a_desktop_on_screen_with_sqlite() {
    from_stopped_to_picture_and_back(Database::Sqlite);
}

/// With PostgreSQL: the same.
#[test]
fn a_desktop_on_screen_with_postgresql() {
    from_stopped_to_picture_and_back(Database::Postgres);
}
