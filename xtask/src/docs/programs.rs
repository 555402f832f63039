//! What the programs say of themselves, verb by verb.

use std::{ffi::OsString, fmt::Write as _};

use anyhow::{Context as _, Result};

use crate::{command::Command, place};

/// The programs that people call.
const PROGRAMS: [&str; 3] = ["qa", "qvd", "qvd-client"];
/// Headings of `--help` under which words stand that have a `--help` of their own.
const HEADINGS: [&str; 3] = ["Commands:", "Objects:", "Verbs:"];

/// A page for each program, built for it first.
pub(super) fn pages() -> Result<Vec<(&'static str, String)>> {
    // As `./check` builds them: a smaller choice would have other features, and be built anew.
    Command::cargo().args(["build", "--quiet", "--workspace", "--all-targets"]).run()?;
    PROGRAMS.into_iter().map(|program| Ok((program, page(program)?))).collect()
}

fn page(program: &str) -> Result<String> {
    let mut page = format!("# {program}\n\nMade by `cargo xtask docs` from `{program} --help`.\n");
    section(&mut page, program, &[])?;
    Ok(page)
}

/// The help of a program, or of a word of it, and of those below.
fn section(page: &mut String, program: &str, words: &[String]) -> Result<()> {
    let file = place::target().join("debug").join(program);
    let help = Command::new(OsString::from(file))
        .args(words)
        .arg("--help")
        // A page must not depend on who makes it.
        .env("COLUMNS", "100")
        .output()
        .with_context(|| format!("cannot ask {program} for its help"))?;
    if !words.is_empty() {
        let _ = write!(page, "\n{} {program} {}\n", "#".repeat(words.len() + 1), words.join(" "));
    }
    let help = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let _ = write!(page, "\n```text\n{}\n```\n", help.trim_end());
    for word in below(&help) {
        let words: Vec<String> = words.iter().cloned().chain([word]).collect();
        section(page, program, &words)?;
    }
    Ok(())
}

/// The words that have a help of their own.
fn below(help: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut listed = false;
    for line in help.lines() {
        if HEADINGS.contains(&line) {
            listed = true;
        } else if !line.starts_with(' ') {
            listed = false;
        } else if listed
            && let Some(entry) = line.strip_prefix("  ")
            && !entry.starts_with(' ')
            && let Some(word) = entry.split_whitespace().next()
            && word != "help"
        {
            words.push(word.to_owned());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_a_help_of_their_own_are_found() {
        let help = "Administers\n\nUsage: qa OBJECT\n\nObjects:\n  config  Settings of\n          all\n  \
                    vm      Machines\n  help    Print this\n\nOptions:\n  -q      Quiet\n";
        assert_eq!(below(help), ["config", "vm"]);
        assert!(below("Usage: qa vm list\n\nOptions:\n  -q\n").is_empty());
    }
}
