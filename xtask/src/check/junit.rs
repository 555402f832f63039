//! The report that nextest writes in the form of `JUnit`.

use anyhow::{Context as _, Result};

/// How a test that cannot run on this machine says so, on a line of its output, with why.
const SKIP: &str = "skipped: ";

/// A test that ran.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// The binary it is in.
    pub(super) suite: String,
    pub(super) name: String,
    pub(super) failed: bool,
    /// Why it did nothing, if it said that.
    pub(super) skipped: Option<String>,
}

/// Every test of a report; none of an empty one.
pub(super) fn cases(report: &str) -> Result<Vec<Case>> {
    if report.is_empty() {
        return Ok(Vec::new());
    }
    let document = roxmltree::Document::parse(report).context("cannot read the report")?;
    let nodes = document.descendants().filter(|node| node.has_tag_name("testcase"));
    nodes
        .map(|node| {
            let attribute = |key: &str| {
                let value = node.attribute(key).map(str::to_owned);
                value.with_context(|| format!("a test without `{key}`"))
            };
            let failed = node
                .children()
                .any(|child| child.has_tag_name("failure") || child.has_tag_name("error"));
            let said = node.children().filter(|child| {
                child.has_tag_name("system-out") || child.has_tag_name("system-err")
            });
            let skipped = said
                .filter_map(|said| said.text())
                .flat_map(str::lines)
                .find_map(|line| line.strip_prefix(SKIP));
            Ok(Case {
                suite: attribute("classname")?,
                name: attribute("name")?,
                failed,
                skipped: skipped.map(str::to_owned),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="3" failures="1" errors="0">
              <testsuite name="model" tests="3" disabled="0" errors="0" failures="1">
                <testcase name="a::one" classname="model" time="0.002"/>
                <testcase name="two" classname="model" time="0.002">
                  <failure message="panicked" type="test failure"/>
                  <system-err>thread panicked</system-err>
                </testcase>
                <testcase name="three" classname="model" time="0.1">
                  <system-out>running 1 test&#10;
skipped: the kernel has no netem
test ok</system-out>
                </testcase>
              </testsuite>
            </testsuites>"#;
        let cases = cases(report).unwrap();
        let short: Vec<_> = cases
            .iter()
            .map(|case| (case.name.as_str(), case.failed, case.skipped.as_deref()))
            .collect();
        assert_eq!(
            short,
            [
                ("a::one", false, None),
                ("two", true, None),
                ("three", false, Some("the kernel has no netem"))
            ]
        );
    }

    #[test]
    fn an_empty_report_has_none_and_a_broken_one_is_an_error() {
        assert!(cases("").unwrap().is_empty());
        assert!(cases("<testsuites><testcase/></testsuites>").is_err());
        assert!(cases("<testsuites>").is_err());
    }
}
