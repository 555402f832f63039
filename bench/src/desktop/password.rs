//! What a password costs: a list of desktops, asked for by who is not known yet, and again.

use std::time::Instant;

use anyhow::{Result, ensure};
use tests::{Database, World, wire_client::WireClient, world::PORT};
use wire::head::{Event, Login};

use super::{micros, results};
use crate::results::{Results, Series};

/// Measures a tenth of so many first requests, and as many second ones.
pub(crate) fn measure(samples: usize) -> Result<Results> {
    let world = World::start(Database::Sqlite);
    let users: Vec<String> =
        (0..samples.div_ceil(10)).map(|number| format!("user{number}")).collect();
    let (mut checked, mut remembered) = (Vec::new(), Vec::new());
    for user in &users {
        world.add_user(user);
    }
    for user in &users {
        checked.push(request(&world, user)?);
        remembered.push(request(&world, user)?);
    }
    world.end();
    results(
        "password",
        "A password: authenticated request to its answer",
        "A list of no desktops, over a TCP connection that is there: the handshake of TLS counts. The hash \
         is argon2id with 19 MiB and two passes.",
        vec![
            Series::new("checked", "the user's first request", checked),
            Series::new("remembered", "one within the minute after", remembered),
        ],
    )
}

/// One request, in microseconds.
fn request(world: &World, user: &str) -> Result<u64> {
    let mut client = WireClient::connect(PORT);
    let login = Login { login: user.to_owned(), password: world.password().to_owned() };
    let began = Instant::now();
    let events = client.ask("/qvd/list_of_vm", &[], &login, false);
    let took = micros(began.elapsed());
    let good = matches!(events.last(), Some(Event::Answer(answer)) if answer.status == 200);
    ensure!(good, "the router did not answer: {events:?}");
    Ok(took)
}
