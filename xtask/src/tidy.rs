//! What the rules of the source tree forbid, found.
//!
//! Each rule is a pure function from files to findings. The table of arrows between crates is that of
//! `ARCHITECTURE.md`: what people read is what is enforced.

mod arrows;
mod inside;
mod manifest;
mod shape;
mod words;

use std::{fmt, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{place, say};

/// A file of the source tree.
#[derive(Debug)]
struct Source {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Its path, as text.
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Its lines, counted from 1, each with whether it belongs to tests.
    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let mut test = self.is_test();
        self.text.lines().enumerate().map(move |(index, text)| {
            // A test module is the last thing in its file.
            test |= self.is_rust() && text.trim() == "#[cfg(test)]";
            Line { number: index + 1, text, test }
        })
    }

    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        let name = self.name();
        name.starts_with("tests/") || name.contains("/tests/") || name.ends_with("/tests.rs")
    }
}

/// A line of a file.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    number: usize,
    text: &'a str,
    test: bool,
}

/// A rule that is broken somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
    remedy: &'static str,
}

impl Finding {
    fn new(source: &Source, line: usize, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: source.path.clone(), line, what: what.into(), remedy }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, remedy } = self;
        write!(f, "{}:{line}: {what}; {remedy}", path.display())
    }
}

/// Looks through the source tree; an error when anything is found.
pub(crate) fn run() -> Result<()> {
    let sources = sources()?;
    let mut findings = arrows::look(&sources)?;
    findings.extend(inside::look(&sources));
    findings.extend(manifest::look(&sources)?);
    findings.extend(shape::look(&sources));
    findings.extend(words::look(&sources));
    findings.sort();
    for finding in &findings {
        say::line(finding);
    }
    if findings.is_empty() {
        Ok(())
    } else {
        bail!("{} findings in {} files", findings.len(), sources.len());
    }
}

/// Every text file of the tree; what is not text has nothing to be looked at.
fn sources() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for path in place::files()? {
        let bytes = std::fs::read(place::root().join(&path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path, text });
        }
    }
    Ok(sources)
}

#[cfg(test)]
fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.to_owned() }
}
