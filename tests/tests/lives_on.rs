//! A session outlives what serves it, and a VM's end from inside is understood.

use std::time::Duration;

use rand::Rng as _;
use tests::{
    Database, Display, World, painting, program::shell, until, wire_client::WireClient, world::PORT,
};
use wire::head::{Event, Login};

/// How soon a client has the picture back after the router has come back.
const RESUMED_WITHIN: Duration = Duration::from_secs(3);

/// Restart of hkd, l7r and api under a running session: its processes live on; the picture is back by
/// itself, and was never gone when it was not the router.
#[test]
fn daemons_restart_under_a_running_session() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let display = Display::start(world.folder(), 52);
    let mut client = world.client(&display, "ada", "desk");
    world.reaches("desk", "running");
    let seed: u64 = rand::rng().random();
    let painter = world.paint("desk", "ada", seed);
    display.shows(seed);
    let begun = world.begun("desk");
    let losses = |world: &World| {
        let said = world.client_said(&display);
        said.lines().filter(|line| *line == "Connection lost, resuming").count()
    };
    // Until then the window of the lost connection could be taken for that of the new one.
    let notices = |world: &World, lost: usize| {
        until("the client to lose its connection", Duration::from_secs(20), || {
            if losses(world) == lost { Ok(()) } else { Err(world.client_said(&display)) }
        });
    };
    let mut lost = 0;
    for daemon in ["hkd", "api", "l7r"] {
        for signal in ["TERM", "KILL"] {
            let pid = world.daemon_pid(daemon);
            assert_ne!(pid, 0, "{daemon} runs");
            shell(&format!("kill -{signal} {pid}"));
            until(
                &format!("{daemon} to be started again"),
                Duration::from_secs(30),
                || match world.daemon_pid(daemon) {
                    fresh if fresh != pid && fresh != 0 => Ok(()),
                    same => Err(same),
                },
            );
            if daemon == "l7r" {
                lost += 1;
                notices(&world, lost);
            }
            display.shows_within(RESUMED_WITHIN, seed);
            assert_eq!(losses(&world), lost, "{}", world.client_said(&display));
            assert!(client.runs());
        }
    }
    assert_eq!(world.inside("desk", "pgrep -f '[b]in/paint'"), painter);
    // All of it at once, in good order.
    world.stop_daemons();
    notices(&world, lost + 1);
    world.run_daemons();
    display.shows(seed);
    assert!(client.runs());
    assert_eq!(world.inside("desk", "pgrep -f '[b]in/paint'"), painter);
    assert_eq!(world.begun("desk"), begun, "the container is the same");
    assert_eq!(world.state("desk"), "running", "the new hkd took it over");
    world.expect_log("ERROR", "it ended; it is started again");
    world.expect_log("INFO", "it was ended; it is started again");
    drop(client);
    world.end();
}

/// Two connects at once to one VM: one container, the newest wins.
#[test]
fn the_newest_of_two_connects_wins() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let one = Display::start(world.folder(), 53);
    let two = Display::start(world.folder(), 54);
    let mut first = world.client(&one, "ada", "desk");
    let mut second = world.client(&two, "ada", "desk");
    world.reaches("desk", "running");
    let (winner, loser) = until("one client to give way", Duration::from_mins(1), || {
        match (first.runs(), second.runs()) {
            (true, false) => Ok((&one, &two)),
            (false, true) => Ok((&two, &one)),
            both => Err((both, world.client_said(&one), world.client_said(&two))),
        }
    });
    let seed: u64 = rand::rng().random();
    world.paint("desk", "ada", seed);
    winner.shows(seed);
    assert!(!loser.has_desktop());
    assert_eq!(world.log().matches("starting a container").count(), 1, "one container");
    // A third takes it from the winner.
    let third = world.client(loser, "ada", "desk");
    loser.shows(seed);
    until("the other picture to go", Duration::from_secs(20), || {
        if winner.has_desktop() { Err(world.client_said(winner)) } else { Ok(()) }
    });
    drop(third);
    world.end();
}

/// Power off, reboot, crash of init from inside: a power off is a stop with that reason, a reboot
/// starts again on the same overlay, a crash is retried on it, and given up after three times in a short
/// time until another start is wanted.
#[test]
fn an_end_from_inside_is_understood() {
    let mut world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    world.qa("vm start -f name=desk --wait");

    // Reboot: the same overlay, a new init, the agent again.
    world.inside("desk", "echo kept > /var/kept");
    let begun = world.begun("desk");
    let monitor = shell(&format!("pgrep -f '[l]xc-start -F -n {}'", world.container("desk")));
    // The agent is there before systemd takes orders.
    until("systemd", Duration::from_secs(30), || world.try_inside("desk", "systemctl reboot"));
    until("the reboot", Duration::from_secs(30), || {
        let now = world.try_begun("desk")?;
        if now == begun { Err(now) } else { Ok(()) }
    });
    world.reaches("desk", "running");
    assert_eq!(world.inside("desk", "cat /var/kept"), "kept");
    assert_eq!(
        shell(&format!("pgrep -f '[l]xc-start -F -n {}'", world.container("desk"))),
        monitor
    );

    // Crash: retried by itself, on the same overlay; not for ever.
    for crash in 1..=4 {
        assert_eq!(world.inside("desk", "cat /var/kept"), "kept");
        shell(&format!("kill -9 {}", world.init_of(&world.container("desk"))));
        until("the crash to be seen", Duration::from_secs(30), || {
            match world.log().matches("a run ended by itself").count() {
                seen if seen == crash => Ok(()),
                seen => Err(seen),
            }
        });
        world.reaches("desk", if crash < 4 { "running" } else { "failed" });
    }
    let why = world.qa("vm why -f name=desk");
    assert!(why.contains("4 times"), "{why}");
    world.qa("vm start -f name=desk --wait");
    assert!(world.try_inside("desk", "cat /var/kept").is_err(), "a new start has a fresh overlay");

    // Power off: stopped, with the reason, and it stays so until it is wanted again.
    until("a bus to power off by", Duration::from_secs(30), || {
        world.try_inside("desk", "systemctl poweroff")
    });
    world.reaches("desk", "stopped");
    assert!(world.qa("vm why -f name=desk").contains("shut down from inside"));
    until("nothing to be left", Duration::from_secs(20), || match world.leftovers() {
        left if left.is_empty() => Ok(()),
        left => Err(left),
    });
    world.qa("vm start -f name=desk --wait");
    world.expect_log("INFO", "a run ended by itself");
    world.end();
}

/// Under systemd no unit has failed, `loginctl` shows the user's session, `XDG_RUNTIME_DIR` and the
/// user's D-Bus work; 100 connections cut between `101` and their first byte: the session lives and
/// the next client gets it.
#[test]
fn a_session_is_a_real_login_and_survives_a_hundred_cut_connections() {
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_vm("desk", "ada");
    let display = Display::start(world.folder(), 55);
    let mut client = world.client(&display, "ada", "desk");
    world.reaches("desk", "running");
    let seed: u64 = rand::rng().random();
    let painter = world.paint("desk", "ada", seed);
    display.shows(seed);

    until("a running system", Duration::from_secs(30), || {
        world.try_inside("desk", "systemctl is-system-running")
    });
    assert_eq!(world.inside("desk", "systemctl --failed --no-legend"), "");
    let session = world.inside("desk", "loginctl list-sessions --no-legend");
    assert!(session.contains("ada"), "{session}");
    let runtime = format!("/run/user/{}", world.inside("desk", "id -u ada"));
    let environment = world.desktop_environment("desk", "ada").expect("there is a desktop");
    for given in [
        format!("XDG_RUNTIME_DIR={runtime}"),
        format!("DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"),
    ] {
        assert!(environment.lines().any(|line| line == given), "{given} in {environment}");
    }
    let bus = "test -w $XDG_RUNTIME_DIR && dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames";
    world.try_in_desktop("desk", "ada", bus).expect("the user's D-Bus answers");
    assert_eq!(
        world.try_in_desktop("desk", "ada", "systemctl --user --failed --no-legend").as_deref(),
        Ok("")
    );
    client.end();

    let login = Login { login: "ada".into(), password: world.password().into() };
    let id = world.id("desk").to_string();
    for number in 0..100 {
        let mut cut = WireClient::connect(PORT);
        let events = cut.ask("/qvd/connect_to_vm", &[("id", &id)], &login, true);
        assert!(matches!(events.last(), Some(Event::Switched { .. })), "{number}: {events:?}");
    }
    let client = world.client(&display, "ada", "desk");
    display.shows(seed);
    assert_eq!(world.inside("desk", "pgrep -f '[b]in/paint'"), painter);
    drop(client);
    world.end();
}

/// What is checked on the client's display can tell one number from another.
#[test]
fn one_painting_is_not_another() {
    let (one, two) = (painting::painting(1, 64, 48), painting::painting(2, 64, 48));
    assert_eq!(painting::differing(&one, &two), 64 * 48);
}
