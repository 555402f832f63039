//! Words that have no place in the source tree.

use super::{Finding, Line, Source};

/// Left for later; written in parts, so that this file is no finding itself.
const LATER: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("#[", "ignore"),
];
/// Places that only one machine has.
const PLACES: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("shared/", "reference"),
    concat!("../", "shared"),
    concat!(".lib", "rary"),
];
/// Waiting for time instead of for the thing.
const NAPS: [&str; 2] = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];

/// Lines with such a word.
pub(super) fn look(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !generated(source)) {
        for line in source.lines() {
            findings.extend(of_line(source, line));
        }
    }
    findings
}

fn generated(source: &Source) -> bool {
    source.path.extension().is_some_and(|extension| extension == "lock")
}

fn of_line(source: &Source, line: Line<'_>) -> Option<Finding> {
    let find = |what: String, remedy| Some(Finding::new(source, line.number, what, remedy));
    if let Some(word) = LATER.iter().find(|word| has_word(line.text, word)) {
        return find(format!("`{word}` is left in"), "finish it, or take it out");
    }
    if let Some(place) = PLACES.iter().find(|place| has_word(line.text, place)) {
        let remedy = "copy the fact with its public source";
        return find(format!("`{place}` is a place that only one machine has"), remedy);
    }
    let code = source.is_rust() && !line.text.trim_start().starts_with("//");
    if line.test && code && NAPS.iter().any(|nap| line.text.contains(nap)) && !looped(source, line)
    {
        let remedy = "wait for the thing itself, looking again and again";
        return find("a test waits for time to pass".to_owned(), remedy);
    }
    None
}

/// Whether a line is in a loop of its function: then it breathes between two looks, or paces.
fn looped(source: &Source, line: Line<'_>) -> bool {
    let indent = |text: &str| text.len() - text.trim_start().len();
    let above: Vec<&str> = source.text.lines().take(line.number).collect();
    let mut inner = indent(line.text);
    for text in above.iter().rev().filter(|text| !text.trim().is_empty()) {
        if indent(text) < inner {
            inner = indent(text);
            let begins = text.trim_start();
            if ["loop {", "while ", "for "].iter().any(|word| begins.starts_with(word)) {
                return true;
            }
            if begins.contains("fn ") {
                return false;
            }
        }
    }
    false
}

/// Whether a word stands alone in a line: not as a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
        let open = word.ends_with(|c: char| !c.is_alphanumeric());
        !before.is_some_and(char::is_alphanumeric)
            && (open || !after.is_some_and(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn found(path: &str, text: &str) -> Vec<usize> {
        look(&[source(path, text)]).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn what_is_left_for_later_is_found() {
        for word in LATER {
            assert_eq!(found("README.md", &format!("a\n// {word} b\n")), [2], "{word}");
        }
        assert!(found("README.md", concat!("AUTO", "TO", "DOX")).is_empty());
    }

    #[test]
    fn places_of_one_machine_are_found() {
        for place in PLACES {
            assert_eq!(found("docs/a.md", &format!("see {place}/x\n")), [1], "{place}");
        }
        assert!(found("docs/a.md", "a patch/work/around\n").is_empty());
    }

    #[test]
    fn a_nap_is_found_in_tests_alone() {
        let nap = format!("std::{}ONE);\n", NAPS[0]);
        assert!(found("crates/a/src/b.rs", &nap).is_empty());
        assert_eq!(found("crates/a/src/b.rs", &format!("#[cfg(test)]\n{nap}")), [2]);
        assert_eq!(found("tests/tests/connect.rs", &nap), [1]);
        let looks = format!("fn x() {{\n    while !there() {{\n        {nap}    }}\n}}\n");
        assert!(found("tests/a.rs", &looks).is_empty());
        let after = format!("fn x() {{\n    while look() {{\n    }}\n    {nap}}}\n");
        assert_eq!(found("tests/a.rs", &after), [4]);
    }
}
