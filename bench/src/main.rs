//! What is measured, against whom, and how it is shown.
//!
//! | command | does |
//! |---|---|
//! | `bench measure [NAME…]` | measures, and writes raw samples to `bench/results/NAME.json` |
//! | `bench render` | writes `docs/benchmarks.md` and its plots from those |
//! | `bench compare` | prints the budgets that those miss, and fails when there are any |
//!
//! `cargo xtask bench` builds this as it ships and calls it. Medians and spreads are computed when they
//! are shown: what is kept are samples.

mod budget;
mod clone;
mod desktop;
mod image;
mod page;
mod place;
mod plot;
mod program;
mod relay;
mod results;
mod statistics;
mod usage;
mod volume;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use results::Results;

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures QVD")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and keep the samples
    Measure {
        /// Only these
        names: Vec<String>,
        /// Clones of each kind; what takes longer is done a part as often
        #[arg(long, default_value_t = 500)]
        samples: usize,
    },
    /// Write the page and its plots
    Render,
    /// Print the budgets that are missed
    Compare,
    /// Unpack an archive from standard input into a folder; used by the driver that is measured
    #[command(name = hkd::linux::unpack::SUBCOMMAND, hide = true)]
    UnpackHere {
        /// The folder
        folder: PathBuf,
    },
}

/// A measurement by its name.
struct Measurement {
    name: &'static str,
    run: fn(usize) -> Result<Vec<Results>>,
}

/// In this order: the later ones enter namespaces of their own and stay there.
const ALL: [Measurement; 7] = [
    Measurement { name: "relay", run: relay::measure },
    Measurement { name: "clone", run: |samples| Ok(vec![clone::measure(samples)?]) },
    Measurement { name: "start", run: desktop::start::measure },
    Measurement { name: "connect", run: |samples| Ok(vec![desktop::connect::measure(samples)?]) },
    Measurement { name: "password", run: |samples| Ok(vec![desktop::password::measure(samples)?]) },
    Measurement {
        name: "first-pixel",
        run: |samples| Ok(vec![desktop::first_pixel::measure(samples)?]),
    },
    Measurement { name: "idle", run: desktop::idle::measure },
];

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Measure { names, samples } => measure(&names, samples),
        Command::Render => page::write(),
        Command::Compare => compare(),
        Command::UnpackHere { folder } => {
            // This process has one thread, and becomes another program.
            Err(anyhow::Error::new(hkd::linux::unpack::locked_in::main(&folder)))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. That nobody reads it any more is no failure of the measurement.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn measure(names: &[String], samples: usize) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !ALL.iter().any(|it| it.name == **name)) {
        let known: Vec<&str> = ALL.iter().map(|measurement| measurement.name).collect();
        bail!("there is no measurement `{unknown}`; there are {}", known.join(", "));
    }
    for measurement in &ALL {
        if names.is_empty() || names.iter().any(|name| name == measurement.name) {
            say(format_args!("measuring {}", measurement.name));
            for results in (measurement.run)(samples)? {
                results.write()?;
            }
        }
    }
    Ok(())
}

fn compare() -> Result<()> {
    let results = results::read_all()?;
    let missed: Vec<String> = budget::judge(&results)
        .into_iter()
        .filter(budget::Verdict::missed)
        .map(|verdict| verdict.to_string())
        .collect();
    for line in &missed {
        say(line);
    }
    match missed.len() {
        0 => Ok(()),
        count => bail!("{count} budgets are missed"),
    }
}
