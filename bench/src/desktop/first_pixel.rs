//! From a client's start to the first pixel of its desktop, when the desktop was stopped.

use std::time::Instant;

use anyhow::{Error, Result};
use tests::{Display, World};

use super::{DESK, USER, look_until, micros, results, stop, world};
use crate::results::{Results, Series};

/// What the session paints, 0xRRGGBB: nothing else on a display has this colour.
const COLOUR: u32 = 0x2f_81_c4;

/// With which process 1: the series' name, what the OSF says, what is waited for.
const INITS: [(&str, &str, &str); 2] = [
    ("image-init", "image", "start, boot, log in, paint"),
    ("vma-init", "own", "start, log in, paint"),
];

/// Measures a tenth of so many.
pub(crate) fn measure(samples: usize) -> Result<Results> {
    let world = world();
    paint_at_login(&world)?;
    let display = Display::start(world.folder(), 62);
    let pixel = display.middle();
    let mut series = Vec::new();
    for (name, init, what) in INITS {
        world.qa(&format!("osf edit -f name=test init={init}"));
        let mut shown = Vec::new();
        for _ in 0..samples.div_ceil(10) {
            stop(&world);
            look_until("the end of the desktop's window", || pixel.colour() != COLOUR)?;
            let began = Instant::now();
            let client = world.client(&display, USER, DESK);
            look_until("the desktop's first pixel", || pixel.colour() == COLOUR)?;
            shown.push(micros(began.elapsed()));
            drop(client);
        }
        series.push(Series::new(name, what, shown));
    }
    world.end();
    results(
        "first-pixel",
        "First pixel: a client's start to its desktop, from stopped",
        "The image of the tests, its base unpacked, with its own init (systemd) and with ours; the whole \
         way of `qvd-client`, with its own start, TLS and nxproxy, until the colour that the session gives its \
         background is in the middle of the client's display.",
        series,
    )
}

/// Has the session paint its background: the home is there at every start.
fn paint_at_login(world: &World) -> Result<()> {
    let line = format!(
        "mkdir -p .config/openbox && \
         echo 'xsetroot -solid \"#{COLOUR:06x}\"' > .config/openbox/autostart"
    );
    world.try_in_session(DESK, USER, &line).map(drop).map_err(Error::msg)
}
