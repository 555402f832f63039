//! Daemons are killed at any moment: nothing else dies, and nothing is left.

use std::{
    collections::BTreeMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{
    Database, Display, World,
    program::{Running, command, said},
    soak::{self, Round, Rounds},
    until,
    world::program,
};

/// How soon a client has its picture back after its router was killed.
const RESUMED_WITHIN: Duration = Duration::from_secs(3);
/// How soon every VM is as wanted after the last that happened in a round.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);
/// How long things happen in a round, in milliseconds.
const ROUND: u64 = 1500;
/// The VM that has a session.
const DESK: &str = "desk0";

/// Who is killed in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// One daemon.
    One(&'static str),
    /// One after the other.
    Each,
    /// All daemons in one moment.
    All,
    /// All daemons and their supervisor.
    Everything,
}

const DAEMONS: [&str; 3] = ["hkd", "l7r", "api"];
/// Every kind of round; seeds that follow each other have them in turn.
const VICTIMS: [Victim; 6] = [
    Victim::One("hkd"),
    Victim::One("l7r"),
    Victim::One("api"),
    Victim::Each,
    Victim::All,
    Victim::Everything,
];

/// A world with a session that a client looks at, and VMs that come and go.
struct Stage {
    world: World,
    display: Display,
    client: Running,
    painting: u64,
    painter: String,
    begun: String,
    /// How often the client had lost its connection when all was well again.
    lost: usize,
    /// The VMs, and whether each is wanted on.
    wanted: BTreeMap<String, bool>,
}

impl Stage {
    fn new(vms: usize) -> Self {
        let world = World::start(Database::Sqlite);
        world.add_user("ada");
        world.add_quick_osf();
        world.add_vm(DESK, "ada");
        let mut wanted = BTreeMap::new();
        for number in 1..vms {
            let name = format!("desk{number}");
            // One boots as long as a real system does; the others are as often on their way as not.
            if number == 1 {
                world.add_vm(&name, "ada");
            } else {
                world.add_quick_vm(&name, "ada");
            }
            wanted.insert(name, false);
        }
        let display = Display::start(world.folder(), 56);
        let client = world.client(&display, "ada", DESK);
        world.reaches(DESK, "running");
        let painting = rand::rng().random();
        let painter = world.paint(DESK, "ada", painting);
        display.shows(painting);
        let begun = world.begun(DESK);
        Self { world, display, client, painting, painter, begun, lost: 0, wanted }
    }

    /// Kills at a random moment while VMs start and stop, and sees that all is well again.
    fn round(&mut self, seed: u64) -> Round {
        let mut dice = StdRng::seed_from_u64(seed);
        let kind = usize::try_from(seed).unwrap_or_default() % VICTIMS.len();
        let victim = VICTIMS.get(kind).copied().expect("a remainder");
        let mut wishes = Vec::new();
        for (name, on) in &mut self.wanted {
            if dice.random_bool(0.7) {
                *on = !*on;
                wishes.push((dice.random_range(0..ROUND), name.clone(), *on));
            }
        }
        wishes.sort();
        let mut moments = [0; 3].map(|_| dice.random_range(0..ROUND));
        moments.sort_unstable();
        let folder = self.world.folder().to_owned();
        let begun = Instant::now();
        let wishing = thread::spawn(move || {
            for (at, name, on) in wishes {
                moment(begun, at);
                wish(&folder, &name, on);
            }
        });
        let killed = self.kill(victim, begun, moments);
        let mut figures = Vec::new();
        let spared = matches!(victim, Victim::One("hkd" | "api"));
        if !spared {
            self.resumes(killed);
            figures.push(("picture back (s)", killed.elapsed().as_secs_f64()));
        }
        wishing.join().expect("every wish is heard");
        let asked = Instant::now();
        self.settles();
        figures.push(("every VM as wanted (s)", asked.elapsed().as_secs_f64()));
        self.session_lives();
        assert!(!spared || self.losses() == self.lost, "{victim:?} died, and a connection with it");
        Round { what: format!("{victim:?}"), figures }
    }

    /// Kills; returns when the router was, or when all that was killed is there again.
    fn kill(&mut self, victim: Victim, begun: Instant, moments: [u64; 3]) -> Instant {
        let [first, ..] = moments;
        match victim {
            Victim::One(daemon) => {
                moment(begun, first);
                kill(&self.world, &[daemon]);
            }
            Victim::Each => {
                for (daemon, at) in DAEMONS.iter().zip(moments) {
                    moment(begun, at);
                    kill(&self.world, &[daemon]);
                }
            }
            Victim::All => {
                moment(begun, first);
                kill(&self.world, &DAEMONS);
            }
            Victim::Everything => {
                moment(begun, first);
                self.world.kill_daemons();
                self.world.run_daemons();
            }
        }
        Instant::now()
    }

    /// The client has lost its connection and gets its picture back by itself in time.
    fn resumes(&mut self, since: Instant) {
        // Until then the window of the lost connection could be taken for that of the new one.
        until("the client to lose its connection", RESUMED_WITHIN, || match self.losses() {
            losses if losses > self.lost => Ok(()),
            _ => Err(self.world.client_said(&self.display)),
        });
        let left = RESUMED_WITHIN.saturating_sub(since.elapsed());
        let in_time = Instant::now() + left;
        let mut wrong = self.display.shows_now(self.painting);
        while wrong.is_err() && Instant::now() < in_time {
            thread::sleep(Duration::from_millis(20));
            wrong = self.display.shows_now(self.painting);
        }
        // The daemons that died one after the other may have cost it more than one.
        self.lost = self.losses();
        let Err(wrong) = wrong else { return };
        // Whether it is late or lost, and what the desktop says of it.
        let late = Instant::now();
        let end = late + Duration::from_secs(30);
        while self.display.shows_now(self.painting).is_err() && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "{wrong} after {RESUMED_WITHIN:?}; {:?} later: {:?}\nthe client:\n{}\nthe agent:\n{}",
            late.elapsed(),
            self.display.shows_now(self.painting),
            tail(&self.world.client_said(&self.display)),
            tail(&self.world.inside("desk0", "cat /run/qvd/agent.log; ps axf")),
        );
    }

    /// How often the client has lost its connection.
    fn losses(&self) -> usize {
        let said = self.world.client_said(&self.display);
        said.lines().filter(|line| *line == "Connection lost, resuming").count()
    }

    /// Every VM is as wanted, and nothing is there of those that are not wanted.
    fn settles(&self) {
        until("every VM to be as wanted", SETTLED_WITHIN, || {
            let listed = said("qa vm list", qa(self.world.folder(), "vm list -o json"))?;
            let listed: Vec<Value> =
                serde_json::from_str(&listed).map_err(|error| error.to_string())?;
            let text = |vm: &Value, key| vm.get(key).and_then(Value::as_str).map(str::to_owned);
            let wrong: Vec<_> = listed
                .iter()
                .filter_map(|vm| Some((text(vm, "name")?, text(vm, "state")?)))
                .filter(|(name, state)| {
                    let on = self.wanted.get(name).copied().unwrap_or(name == DESK);
                    *state != if on { "running" } else { "stopped" }
                })
                .collect();
            if !wrong.is_empty() {
                return Err(format!("{wrong:?}"));
            }
            let on = 1 + self.wanted.values().filter(|on| **on).count();
            let monitors = self.world.monitors().len();
            if monitors == on { Ok(()) } else { Err(format!("{monitors} of {on} containers")) }
        });
    }

    fn session_lives(&mut self) {
        let painter = self.world.inside(DESK, "pgrep -f '[b]in/paint'");
        assert_eq!(painter, self.painter, "the session's program lives");
        assert_eq!(self.world.begun(DESK), self.begun, "the container is the same");
        assert!(self.client.runs(), "the client lives");
    }
}

/// Waits for a moment of a round.
fn moment(begun: Instant, millis: u64) {
    let at = Duration::from_millis(millis);
    until("the moment", Duration::from_mins(1), || {
        if begun.elapsed() >= at { Ok(()) } else { Err(millis) }
    });
}

fn qa(folder: &Path, arguments: &str) -> std::io::Result<std::process::Output> {
    command(program("qa"))
        .args(arguments.split(' '))
        .env("QVD_API_SOCKET", folder.join("run/api/admin.sock"))
        .output()
}

/// Wants a VM on or off, as a person does who is told that the api is not there and tries again.
fn wish(folder: &Path, name: &str, on: bool) {
    let line = format!("vm {} -f name={name}", if on { "start" } else { "stop" });
    until("a wish to be heard", Duration::from_mins(1), || said(&line, qa(folder, &line)));
}

/// Ends daemons at once.
fn kill(world: &World, daemons: &[&str]) {
    let pids: Vec<i32> = daemons.iter().map(|daemon| running(world, daemon)).collect();
    for pid in pids {
        kill_process(Pid::from_raw(pid).expect("a number"), Signal::KILL).expect("it is ours");
    }
}

/// The process of a daemon, which is there or on its way.
fn running(world: &World, daemon: &str) -> i32 {
    until("the daemon to run", Duration::from_mins(1), || match world.daemon_pid(daemon) {
        0 => Err(daemon.to_owned()),
        pid => Ok(pid),
    })
}

/// Rounds (500 with 10 VMs in `soak kills`) of `kill -9` of hkd, l7r, api, each, all, and all with their
/// supervisor, at random moments with VMs starting, running and stopping: every VM reaches its desired
/// state, no session's processes die, connections resume within 3 s, nothing is left over.
#[test]
fn daemons_are_killed_at_any_moment() {
    let mut stage = Stage::new(soak::vms(3));
    Rounds::of(6).run(|seed| stage.round(seed));
    let Stage { mut world, client, .. } = stage;
    drop(client);
    world.expect_log("INFO", "it was ended; it is started again");
    world.end();
}

/// The last lines of a text.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n")
}
