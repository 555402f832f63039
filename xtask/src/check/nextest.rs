//! Tests, run by cargo-nextest and counted from what it writes for machines.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{
    Outcome, junit,
    skips::{self, Skips},
};
use crate::{command::Command, place};

/// The profile in `.config/nextest.toml`.
const PROFILE: &str = "check";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    rust_suites: BTreeMap<String, ListedSuite>,
}

#[derive(Debug, Deserialize)]
struct ListedSuite {
    testcases: BTreeMap<String, ListedTest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ListedTest {
    ignored: bool,
    filter_match: FilterMatch,
}

#[derive(Debug, Deserialize)]
struct FilterMatch {
    status: String,
}

/// Runs the tests that a filter takes. Whatever it takes, the whole workspace is built: another choice of
/// packages would have other features, and be built anew.
pub(super) fn run(filter: &str, skips: &Skips) -> Result<Outcome> {
    let nextest =
        |verb: &str| Command::cargo().args(["nextest", verb, "--workspace", "-E", filter]);
    let listed = nextest("list").args(["--message-format", "json"]).output()?;
    let listed: Listed = serde_json::from_str(&listed).context("cannot read what nextest lists")?;
    let report = place::target().join("nextest").join(PROFILE).join("junit.xml");
    // One of an earlier run must not be taken for this one's.
    match fs::remove_file(&report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", report.display()));
        }
        _ => {}
    }
    let status = nextest("run").args(["--profile", PROFILE, "--no-tests", "pass"]).status()?;
    let text = match fs::read_to_string(&report) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", report.display()))?,
    };
    let cases = junit::cases(&text).with_context(|| format!("in {}", report.display()))?;
    Ok(judge(&listed, &cases, skips, status.success()))
}

/// What the report says, against what should have run.
fn judge(listed: &Listed, cases: &[junit::Case], skips: &Skips, success: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for (suite, name) in listed.tests(true) {
        outcome.problems.push(format!("{suite} {name} is ignored: take it out, or let it run"));
    }
    for (suite, name) in listed.tests(false) {
        let full = format!("{suite} {name}");
        match cases.iter().find(|case| case.suite == *suite && case.name == *name) {
            None => outcome.problems.push(format!("{full} did not run")),
            Some(case) if case.failed => outcome.failed += 1,
            Some(case) => match &case.skipped {
                None => outcome.passed += 1,
                Some(_) if skips.has(&full) => outcome.skipped += 1,
                Some(why) => outcome.problems.push(format!(
                    "{full} was skipped ({why}) and is not listed in {}",
                    skips::FILE
                )),
            },
        }
    }
    if !success && outcome.failures() == 0 {
        outcome.problems.push("nextest failed, but no test of its report did".to_owned());
    }
    outcome
}

impl ListedTest {
    /// Whether the filter takes it. An ignored test is never to be run, and is listed as one of those.
    fn is_taken(&self) -> bool {
        self.ignored || self.filter_match.status == "matches"
    }
}

impl Listed {
    fn tests(&self, ignored: bool) -> impl Iterator<Item = (&String, &String)> {
        self.rust_suites.iter().flat_map(move |(suite, listed)| {
            let tests = listed.testcases.iter();
            tests
                .filter(move |(_, test)| test.ignored == ignored && test.is_taken())
                .map(move |(name, _)| (suite, name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Listed {
        serde_json::from_str(
            r#"{"rust-suites": {"tests::vm": {"testcases": {
                "starts": {"ignored": false, "filter-match": {"status": "matches"}},
                "of_others": {"ignored": false, "filter-match": {"status": "mismatch"}},
                "stops": {"ignored": false, "filter-match": {"status": "matches"}}}}}}"#,
        )
        .unwrap()
    }

    fn case(name: &str, failed: bool, skipped: Option<&str>) -> junit::Case {
        let (suite, name) = ("tests::vm".to_owned(), name.to_owned());
        junit::Case { suite, name, failed, skipped: skipped.map(str::to_owned) }
    }

    #[test]
    fn passed_failed_and_skipped_are_told_apart() {
        let skips = Skips::of(["tests::vm stops"]);
        let cases = [case("starts", false, None), case("stops", false, Some("no netem"))];
        let outcome = judge(&listed(), &cases, &skips, true);
        assert_eq!(outcome, Outcome { passed: 1, skipped: 1, ..Outcome::default() });
        let cases = [case("starts", true, None), case("stops", false, None)];
        let outcome = judge(&listed(), &cases, &skips, false);
        assert_eq!(outcome, Outcome { passed: 1, failed: 1, ..Outcome::default() });
    }

    #[test]
    fn what_did_not_run_and_what_was_skipped_unlisted_are_failures() {
        let none = Skips::of([]);
        let outcome = judge(&listed(), &[case("starts", false, None)], &none, true);
        assert_eq!((outcome.passed, outcome.failures()), (1, 1));
        let cases = [case("starts", false, None), case("stops", false, Some("no netem"))];
        let outcome = judge(&listed(), &cases, &none, true);
        assert_eq!((outcome.passed, outcome.failures()), (1, 1));
    }

    #[test]
    fn a_failure_that_no_test_accounts_for_counts() {
        let cases = [case("starts", false, None), case("stops", false, None)];
        assert_eq!(judge(&listed(), &cases, &Skips::of([]), false).failures(), 1);
    }
}
