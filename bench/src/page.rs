//! `docs/benchmarks.md` and its plots, from the results.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};

use crate::{
    budget::{self, Verdict},
    place, plot,
    results::{self, Results},
    statistics::Summary,
};

const HEAD: &str = "\
# Benchmarks

Made by `cargo xtask bench --render` from the raw samples in `bench/results/`. `cargo xtask bench`
measures anew (root), `cargo xtask bench --compare` prints the budgets that are missed. Spread is from
the first to the third quartile; plots show every sample in the order it was taken.
";

/// Writes them.
pub(crate) fn write() -> Result<()> {
    let results = results::read_all()?;
    let plots = place::docs().join("benchmarks");
    fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
    for one in &results {
        let file = plots.join(format!("{}.svg", one.name));
        fs::write(&file, plot::svg(one))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let file = place::docs().join("benchmarks.md");
    fs::write(&file, page(&results)).with_context(|| format!("cannot write {}", file.display()))
}

fn page(results: &[Results]) -> String {
    let mut page = HEAD.to_owned();
    let verdicts = budget::judge(results);
    if !verdicts.is_empty() {
        page.push_str("\n## Budgets\n\n| held | budget | why not |\n|---|---|---|\n");
        for verdict in &verdicts {
            let held = if Verdict::missed(verdict) { "**missed**" } else { "yes" };
            let _ = writeln!(page, "| {held} | {verdict} | {} |", verdict.why());
        }
    }
    for one in results {
        section(&mut page, one);
    }
    page
}

fn section(page: &mut String, results: &Results) {
    let Results { name, what, conditions, measured_at, revision, machine, versions, unit, series } =
        results;
    let _ = write!(
        page,
        "\n## {what}\n\n{conditions}\n\n\
         | series | what | samples | median | spread | 99 of 100 |\n|---|---|---|---|---|---|\n"
    );
    for series in series {
        if let Some(found) = Summary::of(&series.samples) {
            let Summary { count, median, low, high, p99 } = found;
            let _ = writeln!(
                page,
                "| {} | {} | {count} | {} | {} – {} | {} |",
                series.name,
                series.what,
                unit.show(median),
                unit.show(low),
                unit.show(high),
                unit.show(p99)
            );
        }
    }
    let versions: Vec<String> =
        versions.iter().map(|(program, version)| format!("{program} {version}")).collect();
    let _ = write!(
        page,
        "\n![{what}](benchmarks/{name}.svg)\n\n\
         {measured_at}, revision {revision}; {}, {} cores, {} MiB, Linux {}; {}.\n",
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        versions.join(", ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_page_shows_each_series_and_each_budget() {
        let page = page(&[results("clone", &[("ioctl", &[1000]), ("driver", &[1300])])]);
        assert!(
            page.contains("| ioctl | does ioctl | 1 | 1.00 ms | 1.00 ms – 1.00 ms | 1.00 ms |")
        );
        assert!(page.contains("| **missed** | clone, driver: median 1.30 ms"));
        assert!(page.contains("](benchmarks/clone.svg)"));
    }
}
