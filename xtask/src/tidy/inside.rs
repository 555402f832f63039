//! Arrows inside a crate, and what some code must never touch.

use super::{Finding, Source};

/// A word that must not stand in some files.
struct Absence {
    /// What a file's path begins with.
    below: &'static str,
    words: &'static [&'static str],
    what: &'static str,
    remedy: &'static str,
}

const ABSENCES: [Absence; 2] = [
    Absence {
        below: "crates/hkd/src",
        words: &["TcpListener", "TcpStream", "TcpSocket", "UdpSocket"],
        what: "hkd runs as root and opens no network socket",
        remedy: "let l7r or api talk to the network",
    },
    Absence {
        below: "crates/model/src",
        words: &["std::fs", "std::net::Tcp", "std::process", "std::time::Instant", "async fn"],
        what: "model is rules: no I/O, no clock, nothing asynchronous",
        remedy: "hand the value in as an argument",
    },
];

/// How a program is started; written in parts, so that this file is no door itself.
const STARTS: &str = concat!("process::Command", "::new(");

/// Modules of hkd, and what of hkd they may use besides themselves.
const HKD: [(&str, &[&str]); 2] = [("plan", &[]), ("linux", &[])];

/// Words where they must not be, and uses that go the wrong way.
pub(super) fn look(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let name = source.name();
        for absence in ABSENCES.iter().filter(|absence| name.starts_with(absence.below)) {
            findings.extend(absent(source, absence));
        }
        for (module, may) in HKD {
            let file = format!("crates/hkd/src/{module}.rs");
            let folder = format!("crates/hkd/src/{module}/");
            if name == file || name.starts_with(&folder) {
                findings.extend(arrows(source, module, may));
            }
        }
    }
    findings.extend(doors(sources));
    findings
}

fn absent(source: &Source, absence: &Absence) -> Vec<Finding> {
    code(source)
        .filter(|line| absence.words.iter().any(|word| line.1.contains(word)))
        .map(|(number, _)| Finding::new(source, number, absence.what, absence.remedy))
        .collect()
}

/// Uses of other modules of the same crate.
fn arrows(source: &Source, module: &str, may: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, text) in code(source) {
        for used in text.split("crate::").skip(1) {
            let end = used.find(|c: char| c != '_' && !c.is_alphanumeric());
            let used = used.get(..end.unwrap_or(used.len())).unwrap_or_default();
            if used != module && !may.contains(&used) {
                let what =
                    format!("`{module}` uses `{}`", if used.is_empty() { "{…}" } else { used });
                let remedy = "this module uses nothing else of its crate: hand the value in";
                findings.push(Finding::new(source, number, what, remedy));
            }
        }
    }
    findings
}

/// Where a process of ours becomes another program, which a door cannot do for it.
const BECOMES: [&str; 1] = ["crates/hkd/src/linux/unpack.rs"];

/// Each crate starts other programs in one file.
fn doors(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut door: Option<(&str, &Source)> = None;
    for source in sources.iter().filter(|source| source.is_rust() && !source.is_test()) {
        let name = source.path.to_str().unwrap_or_default();
        let Some((krate, _)) = name.split_once("/src/") else { continue };
        let mut starts = code(source).filter(|(_, text)| text.contains(STARTS));
        let Some((number, _)) = starts.next() else { continue };
        if BECOMES.contains(&name) {
            continue;
        }
        match door {
            Some((of, first)) if of == krate => {
                let what =
                    format!("a second door to other programs: the first is {}", first.name());
                findings.push(Finding::new(source, number, what, "start the program there"));
            }
            _ => door = Some((krate, source)),
        }
    }
    findings
}

/// The lines that are neither comments nor tests.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source
        .lines()
        .filter(|line| !line.test && !line.text.trim_start().starts_with("//"))
        .map(|line| (line.number, line.text))
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    fn found(path: &str, text: &str) -> Vec<usize> {
        look(&[source(path, text)]).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn hkd_has_no_network_socket() {
        let text = "//! No TcpStream here.\nuse std::net::TcpStream;\n";
        assert_eq!(found("crates/hkd/src/talk.rs", text), [2]);
        assert!(found("crates/l7r/src/relay.rs", text).is_empty());
    }

    #[test]
    fn the_planner_uses_nothing_of_its_crate() {
        assert_eq!(found("crates/hkd/src/plan.rs", "use crate::linux::Error;\n"), [1]);
        assert!(found("crates/hkd/src/plan/tests.rs", "use crate::{linux};\n").is_empty());
        assert!(found("crates/hkd/src/linux/real.rs", "use crate::linux::Error;\n").is_empty());
        assert_eq!(found("crates/hkd/src/linux/real.rs", "use crate::{plan};\n"), [1]);
    }

    #[test]
    fn a_crate_has_one_door_to_other_programs() {
        let starts = format!("let x = std::{STARTS}\"x\");\n");
        let sources = [
            source("crates/hkd/src/a.rs", &starts),
            source("crates/hkd/src/b.rs", &starts),
            source("crates/hkd/src/c.rs", &format!("#[cfg(test)]\nmod tests {{ {starts} }}")),
            source("crates/vma/src/a.rs", &starts),
        ];
        let [finding] = look(&sources).try_into().unwrap();
        assert_eq!(finding.path.to_str(), Some("crates/hkd/src/b.rs"));
    }
}
