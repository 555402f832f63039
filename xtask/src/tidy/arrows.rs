//! Which crate may use which: the table in `ARCHITECTURE.md`, held against every Cargo.toml.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};

use super::{Finding, Source};

const DOCUMENT: &str = "ARCHITECTURE.md";
/// The head of the table.
const HEAD: &str = "| crate | may use |";
/// They look at all of the product, and nothing of the product uses them.
const FREE: [&str; 4] = ["bench", "fuzz", "tests", "xtask"];

/// What each crate may use.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Every arrow that the table has not.
pub(super) fn look(sources: &[Source]) -> Result<Vec<Finding>> {
    let document = sources
        .iter()
        .find(|source| source.name() == DOCUMENT)
        .with_context(|| format!("there is no {DOCUMENT}"))?;
    let allowed = table(&document.text)?;
    let manifests: Vec<&Source> =
        sources.iter().filter(|source| source.name().ends_with("/Cargo.toml")).collect();
    let mut findings = Vec::new();
    let ours: BTreeSet<String> = manifests.iter().map(|source| folder(source).to_owned()).collect();
    for manifest in manifests {
        let krate = folder(manifest);
        if FREE.contains(&krate) {
            continue;
        }
        let Some(may) = allowed.get(krate) else {
            let what = format!("crate `{krate}` is not in the table of arrows");
            findings.push(Finding::new(manifest, 1, what, "give it a row in ARCHITECTURE.md"));
            continue;
        };
        for (line, used) in uses(manifest)? {
            if ours.contains(&used) && !may.contains(&used) {
                let what = format!("new arrow `{krate}` → `{used}`");
                let remedy = "turn the dependency round, or move what is shared down";
                findings.push(Finding::new(manifest, line, what, remedy));
            }
        }
    }
    Ok(findings)
}

/// A crate's folder has its name.
fn folder(manifest: &Source) -> &str {
    let folder = manifest.path.parent().and_then(|folder| folder.file_name());
    folder.and_then(|folder| folder.to_str()).unwrap_or_default()
}

/// The packages that a manifest asks for, with the line of each.
fn uses(manifest: &Source) -> Result<Vec<(usize, String)>> {
    let parsed: toml::Table =
        manifest.text.parse().with_context(|| format!("cannot read {}", manifest.name()))?;
    let mut uses = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(asked) = parsed.get(section).and_then(toml::Value::as_table) else { continue };
        for name in asked.keys() {
            let line = manifest.text.lines().position(|line| {
                line.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
            });
            uses.push((line.map_or(1, |index| index + 1), name.clone()));
        }
    }
    Ok(uses)
}

/// Reads the table: a crate in the first column, those it may use in the second.
fn table(document: &str) -> Result<Arrows> {
    let rows = document.lines().skip_while(|line| line.trim() != HEAD).skip(2);
    let mut arrows = Arrows::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split('|').map(names);
        let (krates, uses) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        for krate in krates {
            arrows.insert(krate, uses.clone());
        }
    }
    if arrows.is_empty() {
        bail!("{DOCUMENT} has no table that begins with `{HEAD}`");
    }
    Ok(arrows)
}

/// The words in backticks.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    const TABLE: &str = "# Map\n\n| crate | may use |\n|---|---|\n| `l7r` | `wire` |\n| `qa`, `wire` | nothing |\n\nx\n";

    fn found(path: &str, manifest: &str) -> Vec<String> {
        let sources = [
            source(DOCUMENT, TABLE),
            source("crates/wire/Cargo.toml", ""),
            source("crates/store/Cargo.toml", "[dependencies]\nwire.workspace = true\n"),
            source(path, manifest),
        ];
        let findings = look(&sources).unwrap();
        findings
            .iter()
            .filter(|finding| finding.path.to_str() == Some(path))
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn an_arrow_of_the_table_passes_and_another_is_found_where_it_stands() {
        let good = "[dependencies]\nserde.workspace = true\nwire.workspace = true\n";
        assert!(found("crates/l7r/Cargo.toml", good).is_empty());
        let bad =
            "[dependencies]\nwire.workspace = true\n[dev-dependencies]\nstore.workspace = true\n";
        let [line] = found("crates/l7r/Cargo.toml", bad).try_into().unwrap();
        assert!(line.starts_with("crates/l7r/Cargo.toml:4: new arrow `l7r` → `store`"), "{line}");
        assert_eq!(
            found("crates/qa/Cargo.toml", "[dependencies]\nwire = { path = \"x\" }").len(),
            1
        );
    }

    #[test]
    fn a_crate_without_a_row_is_found_and_the_free_ones_are_not() {
        assert_eq!(found("crates/other/Cargo.toml", "").len(), 1);
        assert!(found("tests/Cargo.toml", "[dependencies]\nstore.workspace = true\n").is_empty());
    }

    #[test]
    fn a_document_without_the_table_is_an_error() {
        assert!(table("# Map\n").is_err());
    }
}
