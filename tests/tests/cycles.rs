//! Starts and stops: nothing grows, and nothing is left.

use std::{
    fs,
    time::{Duration, Instant},
};

use tests::{
    Database, World,
    program::shell,
    soak::{self, Round, Rounds},
    until,
};

/// How much more memory hkd may have at the end than after its first rounds, in MiB.
const GROWTH_MAX: f64 = 16.0;
/// How soon everything is at rest after the last stop.
const WITHIN: Duration = Duration::from_secs(30);
/// The rounds that fill what is filled once: threads, pools, pages of the allocator.
const WARM: u64 = 3;

/// What there is of the daemons and on the machine when no VM runs.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Open descriptors, by daemon.
    descriptors: Vec<(&'static str, usize)>,
    /// What VMs have on the machine, by kind: nothing, when none runs.
    things: Vec<(&'static str, String)>,
    mounts: String,
    links: String,
    /// The firewall's rules and sets.
    rules: String,
    subvolumes: Vec<String>,
    /// Rows, by table; the audit, which is there to grow, apart.
    rows: String,
}

fn look(world: &World) -> Found {
    let descriptors = |daemon| {
        let folder = format!("/proc/{}/fd", world.daemon_pid(daemon));
        (daemon, fs::read_dir(folder).map_or(0, Iterator::count))
    };
    let database = format!("sqlite3 -readonly {}/db/qvd.db", world.folder().display());
    let tables = shell(&format!(
        "{database} \"SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'audit%' \
         AND name NOT LIKE 'sqlite%' ORDER BY name\""
    ));
    let counted = |table: &str| {
        format!("{table} {}", shell(&format!("{database} 'SELECT count(*) FROM {table}'")))
    };
    Found {
        descriptors: ["hkd", "api", "l7r"].map(descriptors).to_vec(),
        things: world.things(),
        mounts: shell("cut -d ' ' -f 5 /proc/self/mountinfo"),
        links: shell("ls /sys/class/net"),
        rules: shell("nft -s list ruleset"),
        subvolumes: world.subvolumes(),
        rows: tables.lines().map(counted).collect::<Vec<_>>().join(", "),
    }
}

/// Memory that hkd has for itself, in MiB.
fn memory(world: &World) -> f64 {
    let status = format!("/proc/{}/status", world.daemon_pid("hkd"));
    let text = fs::read_to_string(status).expect("hkd runs");
    let kib = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.expect("the kernel tells it") / 1024.0
}

/// After starts and stops (10,000 in `soak cycles`) descriptors, mounts, links, rules, control groups,
/// subvolumes and rows are as before, and hkd's memory has not grown.
#[test]
fn starts_and_stops_leave_nothing_and_nothing_grows() {
    let vms = soak::vms(4);
    let world = World::start(Database::Sqlite);
    world.add_user("ada");
    world.add_quick_osf();
    for number in 0..vms {
        world.add_quick_vm(&format!("desk{number}"), "ada");
    }
    let cycle = || {
        let begun = Instant::now();
        world.qa("vm start -f name=desk* --wait");
        let started = begun.elapsed().as_secs_f64();
        world.qa("vm stop -f name=desk* --wait");
        (started, begun.elapsed().as_secs_f64() - started)
    };
    for _ in 0..WARM {
        cycle();
    }
    let mut before = look(&world);
    until("nothing to change any more", WITHIN, || {
        let now = look(&world);
        let same = now == before;
        before = now;
        if same { Ok(()) } else { Err("it changes") }
    });
    let warm = memory(&world);
    Rounds::of(4).run(|_| {
        let (started, stopped) = cycle();
        let now = memory(&world);
        assert!(now - warm < GROWTH_MAX, "hkd had {warm:.1} MiB and has {now:.1} MiB");
        Round {
            what: format!("{vms} VMs up and down"),
            figures: vec![
                ("all up (s)", started),
                ("all down (s)", stopped),
                ("memory of hkd (MiB)", now),
            ],
        }
    });
    until("all to be as before", WITHIN, || match look(&world) {
        now if now == before => Ok(()),
        now => Err(format!("{now:#?}\nwas\n{before:#?}")),
    });
    world.end();
}
