//! Every suite, one after the other, with its seconds; the counts at the end.
//!
//! `./check` prepares the machine (packages, tools, the agent, the image of the tests) and then runs
//! this. The last line is `N passed, N failed`; a suite that ran nothing is a failure, and so is a test
//! that was skipped without being listed in `tests/skips.toml`, and so is a whole that took longer than
//! `tests/budget.toml` allows.

mod budget;
mod junit;
mod nextest;
mod skips;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{command::Command, place, say};
use budget::Budget;
use skips::Skips;

/// What a suite did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Sentences for what else is wrong; each counts as a failure.
    problems: Vec<String>,
}

impl Outcome {
    fn failures(&self) -> usize {
        self.failed + self.problems.len()
    }
}

/// How a suite is run.
enum How {
    /// A program that passes or fails as a whole.
    Gate(Command),
    /// The tests that this filter of nextest's takes, counted one by one.
    Tests(&'static str),
}

/// A suite.
struct Suite {
    name: &'static str,
    how: How,
}

/// Runs the suites whose name contains `only`, after a preparation that took `spent`. Ends the process:
/// with 0 when all passed.
pub(crate) fn run(only: Option<&str>, spent: Duration) -> Result<()> {
    let began = Instant::now();
    let skips = Skips::read()?;
    let suites = suites()?;
    let budget = Budget::read(suites.iter().map(|suite| suite.name))?;
    let asked: Vec<&Suite> =
        suites.iter().filter(|suite| only.is_none_or(|only| suite.name.contains(only))).collect();
    if asked.is_empty() {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
        bail!("no suite of that name; there are {}", names.join(", "));
    }
    let (mut passed, mut failed) = (0, 0);
    let mut lines = Vec::new();
    for suite in asked {
        say::line(format_args!("== {}", suite.name));
        let started = Instant::now();
        let outcome = outcome(suite, &skips);
        for problem in &outcome.problems {
            say::line(format_args!("{}: {problem}", suite.name));
        }
        passed += outcome.passed;
        failed += outcome.failures();
        lines.push(format!(
            "{:<12} {:>5} passed {:>3} failed {:>3} skipped {:>7.1} s of {:>4}",
            suite.name,
            outcome.passed,
            outcome.failures(),
            outcome.skipped,
            started.elapsed().as_secs_f64(),
            budget.suite(suite.name)
        ));
    }
    say::line("");
    for line in lines {
        say::line(line);
    }
    let whole = (spent + began.elapsed()).as_secs();
    say::line(format_args!("everything took {whole} s of {}", budget.whole));
    if whole > budget.whole {
        say::line(format_args!("that is too long: make it quicker, see {}", budget::FILE));
        failed += 1;
    }
    say::line(format_args!("{passed} passed, {failed} failed"));
    std::process::exit(i32::from(failed > 0));
}

fn suites() -> Result<Vec<Suite>> {
    let cargo = |arguments: &[&str]| How::Gate(Command::cargo().args(arguments.iter().copied()));
    let ours = std::env::current_exe().context("cannot find the program of this task")?;
    let task =
        |arguments: &[&str]| How::Gate(Command::new(ours.clone()).args(arguments.iter().copied()));
    let suite = |name, how| Suite { name, how };
    Ok(vec![
        suite("fmt", cargo(&["fmt", "--all", "--check"])),
        suite("tidy", task(&["tidy"])),
        suite("scripts", How::Gate(Command::new("shellcheck").args(scripts()?))),
        suite(
            "deny",
            cargo(&[
                "deny",
                "--offline",
                "--workspace",
                "--log-level",
                "error",
                "check",
                "bans",
                "licenses",
                "sources",
            ]),
        ),
        suite(
            "clippy",
            cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ),
        suite("rustdoc", cargo(&["doc", "--quiet", "--workspace", "--no-deps"])),
        suite("docs", task(&["docs", "--check"])),
        suite("unit", How::Tests("not package(tests)")),
        suite("end-to-end", How::Tests("package(tests)")),
        suite("fuzz", task(&["fuzz"])),
    ])
}

/// Every file of the tree that a shell runs.
fn scripts() -> Result<Vec<std::ffi::OsString>> {
    let is_script = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(place::root().join(path)).unwrap_or_default();
        bytes.starts_with(b"#!/bin/bash") || bytes.starts_with(b"#!/bin/sh")
    };
    Ok(place::files()?.into_iter().filter(is_script).map(Into::into).collect())
}

fn outcome(suite: &Suite, skips: &Skips) -> Outcome {
    let ran = match &suite.how {
        How::Gate(command) => gate(command),
        How::Tests(filter) => nextest::run(filter, skips),
    };
    let mut outcome = ran.unwrap_or_else(|error| Outcome {
        problems: vec![format!("{error:#}")],
        ..Outcome::default()
    });
    if outcome.passed + outcome.failures() == 0 {
        outcome.problems.push("the suite ran nothing".to_owned());
    }
    outcome
}

fn gate(command: &Command) -> Result<Outcome> {
    let good = command.status()?.success();
    if !good {
        say::line(format_args!("failed: {command}"));
    }
    Ok(Outcome { passed: usize::from(good), failed: usize::from(!good), ..Outcome::default() })
}
