//! Documents that are made from the code: settings, and what the programs say of themselves.

mod programs;
mod settings;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{place, say};

/// How to make them again.
const COMMAND: &str = "cargo xtask docs";

/// Writes them; with `check` only compares, and fails when one is not up to date.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in made()? {
        let whole = place::root().join(&path);
        if fs::read_to_string(&whole).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
            continue;
        }
        let folder = whole.parent().expect("documents lie in a folder");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&whole, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
        say::line(format_args!("{}: written", path.display()));
    }
    if !stale.is_empty() {
        bail!("not up to date: {}; run `{COMMAND}`", stale.join(", "));
    }
    Ok(())
}

/// Every generated document, by its path.
fn made() -> Result<BTreeMap<PathBuf, String>> {
    let mut made = BTreeMap::new();
    made.insert(PathBuf::from("docs/settings.md"), settings::page());
    for (name, page) in programs::pages()? {
        made.insert(PathBuf::from(format!("docs/cli/{name}.md")), page);
    }
    Ok(made)
}
