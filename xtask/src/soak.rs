//! Runs a test of `./check` with large numbers, and writes what came of it to `docs/reports/`.
//!
//! The test is told by its environment how many rounds it has and which seed is the first. It writes a
//! line of JSON for each round that went well; the seed after the last of them is the one that failed.
//! The rounds after that one are still run.
//!
//! `vm` runs many tests once, on another machine.

mod head;
mod report;
mod vm;

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, builder::PossibleValuesParser};

use crate::{command::Command, place, say};
use head::Head;
use report::Round;

/// The agent is a static program.
const AGENT_TARGET: &str = "x86_64-unknown-linux-musl";
/// After so many failed rounds the rest is not worth its time.
const FAILURES_MAX: usize = 10;
/// Where reports are.
const REPORTS: &str = "docs/reports";

/// A test that can be made large.
struct Soak {
    name: &'static str,
    about: &'static str,
    package: &'static str,
    /// The file of the test, and its function with its path in there.
    test: (&'static str, &'static str),
    /// Rounds, unless told.
    rounds: u64,
    /// VMs.
    vms: u64,
    /// It works on the real machine, with the programs as they are built.
    whole: bool,
}

const SOAKS: [Soak; 4] = [
    Soak {
        name: "kills",
        about: "kill -9 of hkd, l7r, api, each, all and everything, at random moments",
        package: "tests",
        test: ("crashes", "daemons_are_killed_at_any_moment"),
        rounds: 500,
        vms: 10,
        whole: true,
    },
    Soak {
        name: "cycles",
        about: "starts and stops of VMs, ten of them at once in a round: nothing grows, nothing is left",
        package: "tests",
        test: ("cycles", "starts_and_stops_leave_nothing_and_nothing_grows"),
        rounds: 1000,
        vms: 10,
        whole: true,
    },
    Soak {
        name: "hung",
        about: "shared storage that hangs for a minute under ten VMs that run and eleven that start",
        package: "tests",
        test: ("bad_input", "storage_that_hangs_holds_up_only_what_needs_it"),
        rounds: 3,
        vms: 10,
        whole: true,
    },
    Soak {
        name: "entries",
        about: "an image of a million entries is started, and one of more than may be is refused",
        package: "tests",
        test: ("archives", "many_entries_are_taken_and_too_many_are_refused"),
        rounds: 1,
        vms: 1,
        whole: true,
    },
];

/// What to do.
#[derive(Debug, Args)]
#[command(
    after_help = "Needs root where the real machine is worked on. The report is docs/reports/NAME.md."
)]
pub(crate) struct Options {
    /// Which test
    #[arg(value_parser = names())]
    name: String,
    /// How many rounds
    #[arg(long)]
    rounds: Option<u64>,
    /// The seed of the first round; each further round has the next one
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Of `vm`, only tests whose name contains this; then there is no report
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

fn names() -> PossibleValuesParser {
    let named = |(name, about)| clap::builder::PossibleValue::new(name).help(about);
    let all = SOAKS.iter().map(|soak| (soak.name, soak.about)).chain([(vm::NAME, vm::ABOUT)]);
    all.map(named).collect::<Vec<_>>().into()
}

/// Runs the rounds, and writes the report. An error when any failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.name == vm::NAME {
        return vm::run(options.only.as_deref());
    }
    let soak = SOAKS.iter().find(|soak| soak.name == options.name).context("no such test")?;
    let asked = options.rounds.unwrap_or(soak.rounds);
    ensure!(asked > 0, "no rounds at all show nothing");
    if soak.whole {
        Command::cargo().args(["build", "--quiet", "--workspace"]).run()?;
        let agent = ["--package", "vma", "--profile", "agent", "--target", AGENT_TARGET];
        Command::cargo().args(["build", "--quiet"]).args(agent).run()?;
    }
    let mut head = Head::here(soak.name, soak.about, soak.vms, options.from, asked)?;
    let results = place::target().join("soak").join(format!("{}.jsonl", soak.name));
    empty(&results)?;
    let (began, end) = (Instant::now(), options.from.saturating_add(asked));
    let mut next = options.from;
    while next < end && head.failed.len() < FAILURES_MAX {
        let went_well = soak.test(next, end - next, &results)?;
        let done = report::read(&results)?;
        let last = done.iter().map(|round| round.seed).filter(|seed| *seed >= next).max();
        let after = last.map_or(next, |last| last + 1);
        if went_well {
            ensure!(after == end, "`{}` passed without its rounds: it is not there", soak.name);
            break;
        }
        say::line(format_args!("soak: the round of seed {after} failed"));
        head.failed.push(after.min(end - 1));
        next = after + 1;
    }
    head.seconds = began.elapsed().as_secs();
    let rounds = report::read(&results)?;
    write(&head, &rounds)?;
    if !head.failed.is_empty() {
        bail!("{} of {asked} rounds failed: seeds {:?}", head.failed.len(), head.failed);
    }
    Ok(())
}

impl Soak {
    /// Runs the test with these rounds. Whether it passed.
    fn test(&self, from: u64, rounds: u64, results: &Path) -> Result<bool> {
        let (file, function) = self.test;
        let status = Command::cargo()
            .args(["test", "--quiet", "--package", self.package, "--test", file, "--"])
            .args(["--exact", function, "--nocapture"])
            .env("QVD_SEED", from.to_string())
            .env("QVD_ROUNDS", rounds.to_string())
            .env("QVD_VMS", self.vms.to_string())
            .env("QVD_RESULTS", results)
            .status()?;
        Ok(status.success())
    }
}

/// Makes a file empty, and its folder.
fn empty(file: &Path) -> Result<()> {
    let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, ""));
    made.with_context(|| format!("cannot write {}", file.display()))
}

/// Writes the raw results and the report beside each other.
fn write(head: &Head, rounds: &[Round]) -> Result<()> {
    let folder = place::root().join(REPORTS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut raw = serde_json::to_string(head)?;
    for round in rounds {
        raw.push('\n');
        raw.push_str(&serde_json::to_string(round)?);
    }
    raw.push('\n');
    for (end, text) in [("jsonl", raw), ("md", report::page(head, rounds))] {
        let file = folder.join(format!("{}.{end}", head.name));
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    say::line(format_args!("soak: {REPORTS}/{}.md is written", head.name));
    Ok(())
}
