//! What came of the tests.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{ABOUT, NAME, disk::Test};
use crate::{machine::Run, place};

/// The machine as it says of itself: what, and which.
type System = BTreeMap<String, String>;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Outcome {
    program: String,
    test: String,
    /// In a word: passed, failed, skipped; absent, when the program has no such test.
    end: String,
    seconds: u64,
}

/// All that came.
#[derive(Debug)]
pub(super) struct Report {
    run: Run,
    seconds: u64,
    system: System,
    rows: Vec<Row>,
}

/// A test, and what it shows.
#[derive(Debug)]
pub(super) struct Shown {
    test: Test,
    /// The sentences before it.
    shown: String,
}

#[derive(Debug)]
struct Row {
    test: Test,
    shown: String,
    /// None: the machine did not come to it.
    outcome: Option<Outcome>,
}

impl Report {
    /// From what each test shows, and the lines that the machine said.
    pub(super) fn of(run: Run, seconds: u64, tests: Vec<Shown>, said: &str) -> Result<Self> {
        let mut lines = said.lines();
        let first = lines.next().context("the machine said nothing")?;
        let system = serde_json::from_str(first).with_context(|| first.to_owned())?;
        let outcomes = lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect::<Result<Vec<Outcome>>>()?;
        let row = |Shown { test, shown }| {
            let of = |one: &&Outcome| one.program == test.file && one.test == test.name;
            let outcome = outcomes.iter().find(of).cloned();
            Row { test, shown, outcome }
        };
        let rows = tests.into_iter().map(row).collect();
        Ok(Self { run, seconds, system, rows })
    }

    /// The tests that did not pass.
    pub(super) fn bad(&self) -> Vec<String> {
        let bad = self.rows.iter().filter(|row| row.told() != "passed");
        bad.map(|row| row.test.to_string()).collect()
    }

    /// Writes the raw results and the page beside each other.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let mut raw = format!(
            "{}\n{}\n",
            serde_json::to_string(&self.run)?,
            serde_json::to_string(&self.system)?
        );
        for outcome in self.rows.iter().filter_map(|row| row.outcome.as_ref()) {
            let _ = writeln!(raw, "{}", serde_json::to_string(outcome)?);
        }
        for (end, text) in [("jsonl", raw), ("md", self.page())] {
            let file = folder.join(format!("{NAME}.{end}"));
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    fn page(&self) -> String {
        let mut text = format!(
            "# {NAME}\n\n\
             Written by `cargo xtask soak {NAME}` from {NAME}.jsonl beside it. What it does:\n{ABOUT}.\n\n\
             | | |\n|---|---|\n{}",
            self.run.rows()
        );
        for (what, which) in &self.system {
            let _ = writeln!(text, "| {what} of the emulated machine | {which} |");
        }
        let passed = self.rows.iter().filter(|row| row.told() == "passed").count();
        let _ = writeln!(text, "| tests that passed | {passed} of {} |", self.rows.len());
        let _ = writeln!(text, "| seconds | {} |", self.seconds);
        text.push_str("\n| what is shown | test | | seconds |\n|---|---|---|---|\n");
        for row in &self.rows {
            let seconds = row
                .outcome
                .as_ref()
                .map_or_else(String::new, |outcome| outcome.seconds.to_string());
            let Row { test, shown, .. } = row;
            let _ = writeln!(text, "| {shown} | `{test}` | {} | {seconds} |", row.told());
        }
        text
    }
}

impl Row {
    fn told(&self) -> &str {
        self.outcome.as_ref().map_or("not run", |outcome| &outcome.end)
    }
}

/// What a test shows. Its program is a file, or a folder of files.
pub(super) fn shown(test: &Test) -> Result<Shown> {
    let at = place::root().join("tests/tests").join(&test.file);
    let files = match fs::read_dir(&at) {
        Ok(files) => files.map(|file| Ok(file?.path())).collect::<io::Result<Vec<_>>>(),
        Err(_) => Ok(vec![at.with_extension("rs")]),
    };
    for file in files.with_context(|| format!("cannot look into {}", at.display()))? {
        let source = fs::read_to_string(&file);
        let source = source.with_context(|| format!("cannot read {}", file.display()))?;
        if let Some(shown) = sentences(&source, &test.name) {
            return Ok(Shown { test: test.clone(), shown });
        }
    }
    bail!("there is no test {test}")
}

/// The sentences before a function, as one line.
fn sentences(text: &str, function: &str) -> Option<String> {
    let head = format!("fn {function}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&head))?;
    let mut said: Vec<&str> = lines
        .get(..at)?
        .iter()
        .rev()
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .filter_map(|line| line.strip_prefix("///").map(str::trim))
        .collect();
    said.reverse();
    Some(said.join(" ").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::Machine, soak::vm::disk::listed};

    #[test]
    fn what_a_test_shows_is_what_is_written_before_it() {
        let text = "fn a() {}\n\n/// One\n/// two | three.\n#[test]\nfn b() {\n";
        assert_eq!(sentences(text, "b").as_deref(), Some("One two \\| three."));
        assert_eq!(sentences(text, "a").as_deref(), Some(""));
        assert_eq!(sentences(text, "c"), None);
    }

    #[test]
    fn a_report_tells_of_each_test_and_of_what_was_not_reached() {
        let test = |name: &str| shown(&Test { file: "units".into(), name: name.into() });
        let machine = Machine { cpu: "A".into(), cores: 2, memory_mib: 1, kernel: "6".into() };
        let run = Run { revision: "0".into(), began: "2026".into(), machine };
        let known = "router_and_api_run_under_systemd_in_sandboxes";
        let said = format!(
            "{{\"kernel\":\"6.1\"}}\n{{\"program\":\"units\",\"test\":\"{known}\",\"end\":\"passed\",\"seconds\":7}}\n"
        );
        let report = Report::of(run.clone(), 9, vec![test(known).unwrap()], &said).unwrap();
        assert!(report.bad().is_empty());
        let page = report.page();
        assert!(page.contains("| kernel of the emulated machine | 6.1 |"), "{page}");
        assert!(page.contains(&format!("| `units {known}` | passed | 7 |")), "{page}");
        let said = "{\"kernel\":\"6.1\"}\n";
        let report = Report::of(run, 9, vec![test(known).unwrap()], said).unwrap();
        assert_eq!(report.bad(), [format!("units {known}")]);
        assert!(test("nothing").is_err());
    }

    #[test]
    fn each_test_of_the_list_is_there_and_says_what_it_shows() {
        for test in listed().unwrap() {
            assert!(!shown(&test).unwrap().shown.is_empty(), "{test}");
        }
    }
}
