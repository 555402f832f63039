//! A running installation, as the end-to-end tests make it, of programs built as they ship.

pub(crate) mod connect;
pub(crate) mod first_pixel;
pub(crate) mod idle;
pub(crate) mod password;
mod peers;
pub(crate) mod start;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tests::{Database, World};
use wire::head::{Event, Login};

use crate::{
    program,
    results::{Results, Series},
};

/// The user and the desktop that are measured.
const USER: &str = "ada";
const DESK: &str = "desk";

/// An installation with one user and one desktop of the tests' image, whose base is there.
fn world() -> World {
    let world = World::start(Database::Sqlite);
    world.add_user(USER);
    world.add_vm(DESK, USER);
    world.qa(&format!("vm start -f name={DESK} --wait"));
    world
}

fn stop(world: &World) {
    world.qa(&format!("vm stop -f name={DESK} --wait"));
}

fn login(world: &World) -> Login {
    Login { login: USER.to_owned(), password: world.password().to_owned() }
}

/// Whether an answer is the switch to the desktop's bytes.
fn switched(events: &[Event]) -> bool {
    matches!(events.last(), Some(Event::Switched { .. }))
}

/// Looks every millisecond until something is there.
fn look_until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !look() {
        ensure!(began.elapsed() < Duration::from_mins(1), "waited a minute for {what}");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Results of this machine, now.
fn results(name: &str, what: &str, conditions: &str, series: Vec<Series>) -> Result<Results> {
    let lxc = program::run("lxc-start", &["--version"])?;
    Results::here(name, what, conditions, [("lxc", lxc)], series)
}
