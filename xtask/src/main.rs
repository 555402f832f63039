//! What the project does to itself: `cargo xtask tidy|docs|bench|soak|fuzz|sweep|check`.

mod bench;
mod check;
mod docs;
mod fuzz;
mod say;
mod soak;
mod sweep;
mod tidy;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use xtask::{command, machine, place};

#[derive(Debug, Parser)]
#[command(name = "xtask", about = "What the project does to itself")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fail on what the rules of the source tree forbid
    Tidy,
    /// Write the generated documents: settings and command lines
    Docs {
        /// Write nothing; fail when one of them is not up to date
        #[arg(long)]
        check: bool,
    },
    /// Measure, and write docs/benchmarks.md from the results
    Bench(bench::Options),
    /// Run a test of ./check with large numbers, and write docs/reports/NAME.md
    Soak(soak::Options),
    /// Try the parsers of foreign bytes with a fuzzer
    Fuzz(fuzz::Options),
    /// Remove what dead test runs left on this machine, and nothing else
    Sweep,
    /// Run every suite and count (`./check` prepares the machine for it)
    Check {
        /// Only suites whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// Seconds that preparing took, which count
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        spent: u64,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Tidy => tidy::run(),
        Task::Docs { check } => docs::run(check),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Sweep => sweep::run(),
        Task::Check { only, spent } => check::run(only.as_deref(), Duration::from_secs(spent)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::line(format_args!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
