//! How files are cut and named.

use super::{Finding, Source};

/// Lines in a file, tests apart.
const LONGEST: usize = 800;
/// Lines in a test module that stands in the file it tests.
const LONGEST_TESTS: usize = 200;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "misc", "manager"];
/// What is written by hand.
const WRITTEN: [&str; 7] = ["rs", "sh", "sql", "ts", "js", "css", "html"];

/// Files that are too long, ill named, or do not say what they are for.
pub(super) fn look(sources: &[Source]) -> Vec<Finding> {
    sources.iter().flat_map(of_file).collect()
}

fn of_file(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let words = |part: &std::ffi::OsStr| {
        let stem = part.to_string_lossy();
        let stem = stem.split('.').next().unwrap_or_default();
        EMPTY_NAMES.contains(&stem)
    };
    if source.path.iter().any(words) {
        let what = "the name says nothing about what is inside";
        findings.push(Finding::new(source, 1, what, "name the thing or the deed"));
    }
    if source.path.file_name().is_some_and(|name| name == "mod.rs") {
        let what = "a module named mod.rs";
        findings.push(Finding::new(source, 1, what, "name it after its folder, beside it"));
    }
    if source.is_rust() && !source.text.starts_with("//!") {
        let what = "nothing says what the file is for";
        findings.push(Finding::new(source, 1, what, "begin it with a `//!` sentence"));
    }
    if written(source) {
        findings.extend(lengths(source));
    }
    findings
}

fn written(source: &Source) -> bool {
    let extension = source.path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| WRITTEN.contains(&extension))
        || source.text.starts_with("#!/")
}

fn lengths(source: &Source) -> Option<Finding> {
    if source.is_test() {
        return None;
    }
    let tests = source.lines().filter(|line| line.test).count();
    let length = source.lines().count() - tests;
    if length > LONGEST {
        let what = format!("{length} lines, {LONGEST} at most");
        Some(Finding::new(source, LONGEST + 1, what, "cut it at a noun or a verb"))
    } else if tests > LONGEST_TESTS {
        let what = format!("a test module of {tests} lines, {LONGEST_TESTS} at most");
        Some(Finding::new(source, length + 1, what, "move it to tests.rs in a folder of this name"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn found(path: &str, text: &str) -> usize {
        look(&[source(path, text)]).len()
    }

    #[test]
    fn names_and_first_lines() {
        assert_eq!(found("crates/a/src/plan.rs", "//! Plans.\n"), 0);
        assert_eq!(found("crates/a/src/plan.rs", "fn x() {}\n"), 1);
        assert_eq!(found("crates/a/src/utils.rs", "//! x\n"), 1);
        assert_eq!(found("crates/helpers/src/x.rs", "//! x\n"), 1);
        assert_eq!(found("crates/a/src/plan/mod.rs", "//! x\n"), 1);
    }

    #[test]
    fn length_without_tests() {
        let long = format!("//! x\n{}", "fn x() {}\n".repeat(800));
        let tests = |lines| format!("//! x\n#[cfg(test)]\n{}", "fn x() {}\n".repeat(lines));
        assert_eq!(found("crates/a/src/plan.rs", &long), 1);
        assert_eq!(found("crates/a/src/plan/tests.rs", &long), 0);
        assert_eq!(found("crates/a/src/plan.rs", &tests(199)), 0);
        assert_eq!(found("crates/a/src/plan.rs", &tests(200)), 1);
        assert_eq!(found("demo", &format!("#!/bin/bash\n{}", "true\n".repeat(800))), 1);
        assert_eq!(found("Cargo.lock", &long), 0);
    }
}
