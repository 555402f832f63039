//! Starts and stops, beside others that do the same, alone and many at once.

use anyhow::Result;

use super::{
    peers::{Lxc, Lxd, Nspawn, Ours, Peer},
    world,
};
use crate::{
    image, program,
    results::{Results, Series},
};

/// How many at once.
const COUNTS: [usize; 3] = [1, 10, 30];

/// One of the rows of a table.
struct Row<'a> {
    name: &'static str,
    start: &'static str,
    stop: &'static str,
    /// How many at once it is measured with, at the most.
    most: usize,
    peer: &'a dyn Peer,
}

/// Measures a tenth of so many starts and stops of each, in turns, and a hundredth with many at once.
pub(crate) fn measure(samples: usize) -> Result<Vec<Results>> {
    let world = world();
    world.qa("osf add name=own init=own");
    world.qa(&format!("di add path={} osf=own", image::small()?.path.display()));
    let own = Ours::new(&world, "own", &COUNTS)?;
    let image = Ours::new(&world, "test", &[1])?;
    let (lxc, init) = (Lxc::new(&world)?, Lxc::until_init_is_done(&world)?);
    let (lxd, nspawn) = (Lxd::new(world.folder().join("lxd"))?, Nspawn::new(&world)?);
    own.start(1)?;
    own.stop(1)?;
    let row = |name, peer, start, stop, most| Row { name, start, stop, most, peer };
    let rows = [
        row("vma-init", &own as &dyn Peer, "our init: wanted to agent ready", OURS, 30),
        row("image-init", &image, "the image's init: wanted to agent ready", OURS, 1),
        row("lxc", &lxc, "snapshot, `lxc-start`, `lxc-attach` of `true`", LXC, 30),
        row("lxc-init", &init, "the same, until the image's own init is done", LXC, 1),
        row("lxd", &lxd, "`lxc init`, `lxc start`, `lxc exec` of `true`", "`lxc delete -f`", 10),
        row("nspawn", &nspawn, "`systemd-nspawn -x` of `true`: start and stop in one", "", 30),
    ];
    let mut all = Vec::new();
    for count in COUNTS {
        let rounds = samples.div_ceil(if count == 1 { 10 } else { 100 });
        all.extend(of_count(&rows, count, rounds)?);
    }
    lxd.end()?;
    world.end();
    Ok(all)
}

const OURS: &str = "wanted to nothing left";
const LXC: &str = "`lxc-stop -k`, the snapshot deleted";

fn of_count(rows: &[Row<'_>], count: usize, rounds: usize) -> Result<[Results; 2]> {
    let rows: Vec<&Row<'_>> = rows.iter().filter(|row| count <= row.most).collect();
    let mut starts = vec![Vec::new(); rows.len()];
    let mut stops = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for ((row, starts), stops) in rows.iter().zip(&mut starts).zip(&mut stops) {
            starts.push(row.peer.start(count)?);
            stops.extend(row.peer.stop(count)?);
        }
    }
    let series = |samples: Vec<Vec<u64>>, what: fn(&Row<'_>) -> &'static str| {
        let all = rows.iter().zip(samples).filter(|(_, samples)| !samples.is_empty());
        all.map(|(row, samples)| Series::new(row.name, what(row), samples)).collect()
    };
    let (suffix, many) = match count {
        1 => (String::new(), String::new()),
        _ => (format!("-{count}"), format!(", {count} at once")),
    };
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let version = |program| program::run(program, &["--version"]).map(first);
    let versions = [
        ("lxc", version("lxc-start")?),
        ("lxd", version("lxd")?),
        ("systemd", version("systemd-nspawn")?),
    ];
    let of = |name: &str, what: &str, series| {
        let (name, what) = (format!("{name}{suffix}"), format!("{what}{many}"));
        Results::here(&name, &what, CONDITIONS, versions.clone(), series)
    };
    Ok([
        of("start", "A start: wanted to usable", series(starts, |row| row.start))?,
        of("stop", "A stop: wanted to nothing left", series(stops, |row| row.stop))?,
    ])
}

const CONDITIONS: &str = "\
The image of the tests, unpacked before, on btrfs over a sparse file; the peers in turns, each after its \
volume has freed what was deleted before. Ours is from the time in `vm_desired` to that in `vm_observed`, \
to the millisecond, of one clock: network, firewall, limits, ids of its own, home and user included. LXC \
and systemd-nspawn have none of these and are privileged; LXD has ids of its own, and no network. With \
thirty at once it is not measured: one or another did not come up, and was waited for without end.";
