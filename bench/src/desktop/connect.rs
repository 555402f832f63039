//! From an authenticated request to `101`, on a desktop that runs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tests::{Display, World, until, wire_client::WireClient, world::PORT};

use super::{DESK, USER, login, micros, results, switched, world};
use crate::results::{Results, Series};

/// Measures so many requests to a session that listens, and a tenth that have to resume one.
pub(crate) fn measure(samples: usize) -> Result<Results> {
    let world = world();
    let display = Display::start(world.folder(), 61);
    let (mut listening, mut resume) = (Vec::new(), Vec::new());
    for _ in 0..samples.div_ceil(10) {
        visit(&world, &display);
        resume.push(request(&world)?);
    }
    // Who leaves between the 101 and the first byte leaves a session that listens.
    for _ in 0..samples {
        listening.push(request(&world)?);
    }
    world.end();
    results(
        "connect",
        "A connection: authenticated request to 101",
        "To a desktop that runs, over a TCP connection that is there: the handshake of TLS counts. The \
         password was checked within the last minute.",
        vec![
            Series::new("listening", "nxagent listens already", listening),
            Series::new("resume", "the session was suspended and is resumed", resume),
        ],
    )
}

/// One request, in microseconds.
fn request(world: &World) -> Result<u64> {
    let mut client = WireClient::connect(PORT);
    let (id, login) = (world.id(DESK).to_string(), login(world));
    let began = Instant::now();
    let events = client.ask("/qvd/connect_to_vm", &[("id", &id)], &login, true);
    let took = micros(began.elapsed());
    ensure!(switched(&events), "the router did not switch: {events:?}");
    Ok(took)
}

/// A client comes, sees the desktop, and goes: the session is suspended afterwards.
fn visit(world: &World, display: &Display) {
    let shown = |wanted: bool| {
        let what = if wanted { "the desktop" } else { "the end of the desktop's window" };
        until(what, Duration::from_mins(1), || {
            if display.has_desktop() == wanted { Ok(()) } else { Err(world.client_said(display)) }
        });
    };
    let mut client = world.client(display, USER, DESK);
    shown(true);
    client.end();
    shown(false);
    until("a suspended session", Duration::from_secs(30), || {
        let found = world.vm(DESK);
        let connected = found.get("client").is_some_and(|client| !client.is_null());
        if connected { Err(found) } else { Ok(()) }
    });
}
