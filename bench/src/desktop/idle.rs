//! What the daemons take while nothing happens in many desktops.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{Database, World};

use super::{USER, micros, results};
use crate::{
    results::{Results, Series, Unit},
    usage,
};

/// How many desktops run.
const DESKTOPS: usize = 200;
/// How long they run before it is measured.
const REST: Duration = Duration::from_secs(30);
/// How long each look is: in two minutes hkd looks at each of them once.
const WINDOW: Duration = Duration::from_mins(2);

/// Measures a window for every hundred samples.
pub(crate) fn measure(samples: usize) -> Result<Vec<Results>> {
    let world = World::start(Database::Sqlite);
    world.add_user(USER);
    world.add_quick_osf();
    for number in 0..DESKTOPS {
        world.add_quick_vm(&format!("desk{number}"), USER);
    }
    world.qa("vm start -f name=desk* --wait");
    let daemons = ["hkd", "l7r", "api"].map(|name| world.daemon_pid(name).unsigned_abs());
    ensure!(daemons.iter().all(|pid| *pid > 0), "a daemon does not run");
    thread::sleep(REST);
    let (mut times, mut sizes) = (Vec::new(), Vec::new());
    for _ in 0..samples.div_ceil(100) {
        let before = usage::cpu(&daemons)?;
        thread::sleep(WINDOW);
        let took = usage::cpu(&daemons)?.checked_sub(before).context("time runs forward")?;
        times.push(micros(took) / WINDOW.as_secs());
        sizes.push(usage::resident(&daemons)?);
    }
    world.end();
    let conditions = format!(
        "{DESKTOPS} desktops run in real containers, with an init and an agent and nothing else in them; \
         hkd, l7r and api together, in windows of {} s.",
        WINDOW.as_secs()
    );
    let mut memory = results(
        "idle-memory",
        "Idle daemons: their memory",
        &conditions,
        vec![Series::new("daemons", "resident, what they share counted for each", sizes)],
    )?;
    memory.unit = Unit::Bytes;
    let what = vec![Series::new("daemons", "time of a core in a second", times)];
    Ok(vec![results("idle-cpu", "Idle daemons: their time", &conditions, what)?, memory])
}
