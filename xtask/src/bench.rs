//! Measures, by the programs of `bench/`, which also write `docs/benchmarks.md`.

use anyhow::Result;
use clap::Args;

use crate::command::Command;

/// The agent is a static program.
const AGENT_TARGET: &str = "x86_64-unknown-linux-musl";

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
    let built = |packages: &[&str]| {
        let packages = packages.iter().flat_map(|name| ["--package", *name]);
        Command::cargo().args(["build", "--quiet", "--release"]).args(packages).run()
    };
    let bench = || Command::new("target/release/bench");
    if options.compare || options.render {
        built(&["bench"])?;
        return bench().arg(if options.compare { "compare" } else { "render" }).run();
    }
    // What is measured, as it ships: in one call, whose crates are then built one way.
    built(&["bench", "server", "qa", "client"])?;
    let agent = ["--package", "vma", "--profile", "agent", "--target", AGENT_TARGET];
    Command::cargo().args(["build", "--quiet"]).args(agent).run()?;
    bench().arg("measure").args(options.names.clone()).run()?;
    bench().arg("render").run()
}
