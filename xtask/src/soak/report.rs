//! The page that says what came of the rounds.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Head;

/// A round that went well, as its test writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Round {
    pub(super) seed: u64,
    /// What kind of round it was.
    pub(super) what: String,
    /// What was measured, each with its unit in its name.
    pub(super) figures: BTreeMap<String, f64>,
}

/// The rounds in a file, a line each.
pub(super) fn read(file: &Path) -> Result<Vec<Round>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let round = |line: &str| {
        serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))
    };
    text.lines().map(round).collect()
}

/// The report.
pub(super) fn page(head: &Head, rounds: &[Round]) -> String {
    let Head { name, about, .. } = head;
    let mut text = format!(
        "# {name}\n\n\
         Written by `cargo xtask soak {name}` from {name}.jsonl beside it. What it does:\n{about}.\n\n\
         | | |\n|---|---|\n"
    );
    let failed = match head.failed.as_slice() {
        [] => "none".to_owned(),
        seeds => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let last = rounds.iter().map(|round| round.seed).chain(head.failed.iter().copied()).max();
    let last = last.unwrap_or(head.first_seed);
    text.push_str(&head.run.rows());
    for (what, value) in [
        ("VMs", head.vms.to_string()),
        ("rounds that passed", format!("{} of {}", rounds.len(), head.asked)),
        ("seeds", format!("{} to {last}", head.first_seed)),
        ("seeds that failed", failed),
        ("seconds", head.seconds.to_string()),
    ] {
        let _ = writeln!(text, "| {what} | {value} |");
    }
    text.push_str("\n| kind of round | rounds |\n|---|---|\n");
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for round in rounds {
        *kinds.entry(&round.what).or_default() += 1;
    }
    for (kind, count) in kinds {
        let _ = writeln!(text, "| {kind} | {count} |");
    }
    text.push_str(
        "\n| figure | rounds | least | median | 90 % | 99 % | most |\n|---|---|---|---|---|---|---|\n",
    );
    for (figure, mut values) in figures(rounds) {
        values.sort_by(f64::total_cmp);
        let cells = [0, 50, 90, 99, 100].map(|percent| quantile(&values, percent));
        let cells = cells.map(|value| format!("{value:.2}")).join(" | ");
        let _ = writeln!(text, "| {figure} | {} | {cells} |", values.len());
    }
    text
}

fn figures(rounds: &[Round]) -> BTreeMap<&str, Vec<f64>> {
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (figure, value) in rounds.iter().flat_map(|round| &round.figures) {
        figures.entry(figure).or_default().push(*value);
    }
    figures
}

/// The smallest value that so many of a hundred are not above, of values in order.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, Run};

    fn head() -> Head {
        Head {
            name: "kills".into(),
            about: "kill -9 of all".into(),
            run: Run {
                revision: "0123".into(),
                began: "2026-01-01T00:00:00Z".into(),
                machine: Machine {
                    cpu: "A CPU".into(),
                    cores: 2,
                    memory_mib: 1024,
                    kernel: "6.1".into(),
                },
            },
            vms: 3,
            first_seed: 1,
            asked: 4,
            seconds: 9,
            failed: vec![3],
        }
    }

    fn round(seed: u64, value: f64) -> Round {
        let figures = BTreeMap::from([("settled (s)".to_owned(), value)]);
        Round { seed, what: "hkd".into(), figures }
    }

    #[test]
    fn a_report_says_what_passed_what_failed_and_how_it_was_spread() {
        let page = page(&head(), &[round(1, 3.0), round(2, 1.0), round(4, 2.0)]);
        for line in [
            "| rounds that passed | 3 of 4 |",
            "| seeds | 1 to 4 |",
            "| seeds that failed | 3 |",
            "| hkd | 3 |",
            "| settled (s) | 3 | 1.00 | 2.00 | 3.00 | 3.00 | 3.00 |",
        ] {
            assert!(page.lines().any(|each| each == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn what_a_test_writes_is_read() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("kills.jsonl");
        let line = r#"{"seed":7,"what":"hkd","figures":{"settled (s)":1.5}}"#;
        fs::write(&file, format!("{line}\n")).unwrap();
        assert_eq!(read(&file).unwrap(), [round(7, 1.5)]);
        fs::write(&file, "cut").unwrap();
        assert!(read(&file).is_err());
    }
}
