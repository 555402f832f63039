//! Measures, by the programs of `bench/`, which also write `docs/benchmarks.md`.

use anyhow::Result;
use clap::Args;

use crate::command::Command;

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measure only these; everything when none is named (needs root)
    names: Vec<String>,
    /// Measure nothing, write the documents from the results there are
    #[arg(long, conflicts_with_all = ["names", "compare"])]
    render: bool,
    /// Measure nothing, print the budgets that the results miss
    #[arg(long, conflicts_with = "names")]
    compare: bool,
}

/// Builds the measuring programs as they ship, and runs them.
pub(crate) fn run(options: &Options) -> Result<()> {
    let bench =
        || Command::cargo().args(["run", "--quiet", "--release", "--package", "bench", "--"]);
    if options.compare {
        return bench().arg("compare").run();
    }
    if !options.render {
        bench().arg("measure").args(options.names.clone()).run()?;
    }
    bench().arg("render").run()
}
