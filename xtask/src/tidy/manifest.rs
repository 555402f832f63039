//! What every Cargo.toml says.

use anyhow::{Context as _, Result};

use super::{Finding, Source};

/// What packages take from the workspace.
const SHARED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// Packages that keep something to themselves, and dependencies with a version of their own.
pub(super) fn look(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.name().ends_with("/Cargo.toml")) {
        let parsed: toml::Table =
            source.text.parse().with_context(|| format!("cannot read {}", source.name()))?;
        findings.extend(missing(source, &parsed));
        findings.extend(versions(source, &parsed));
    }
    Ok(findings)
}

fn missing(source: &Source, manifest: &toml::Table) -> Vec<Finding> {
    let package = manifest.get("package").and_then(toml::Value::as_table);
    let text = |key: &str| package.and_then(|package| package.get(key)?.as_str());
    let mut findings = Vec::new();
    let mut find = |what: String, remedy| findings.push(Finding::new(source, 1, what, remedy));
    if text("description").is_none_or(str::is_empty) {
        find("no description".to_owned(), "say in one line what the package is for");
    }
    let folder = source.path.parent().and_then(|folder| folder.file_name()?.to_str());
    if text("name") != folder {
        find("the package is not named like its folder".to_owned(), "give both the same name");
    }
    for key in SHARED {
        if !package.and_then(|package| package.get(key)).is_some_and(of_workspace) {
            find(format!("`{key}` is not the workspace's"), "write `KEY.workspace = true`");
        }
    }
    if !manifest.get("lints").is_some_and(of_workspace) {
        find("no lints".to_owned(), "add `[lints]` with `workspace = true`");
    }
    findings
}

fn versions(source: &Source, manifest: &toml::Table) -> Vec<Finding> {
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let asked = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    asked
        .flatten()
        .filter(|(_, asked)| !of_workspace(asked))
        .map(|(name, _)| {
            let what = format!("`{name}` has a version of its own");
            Finding::new(source, 1, what, "list it in the workspace's Cargo.toml")
        })
        .collect()
}

fn of_workspace(value: &toml::Value) -> bool {
    value.get("workspace").and_then(toml::Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::{super::source, *};

    const GOOD: &str = "[package]\nname = \"a\"\ndescription = \"What it is for\"\n\
        version.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
        license.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n\
        [dependencies]\nserde.workspace = true\ntar = { workspace = true, features = [] }\n";

    fn found(manifest: &str) -> usize {
        look(&[source("crates/a/Cargo.toml", manifest)]).unwrap().len()
    }

    #[test]
    fn what_a_package_must_take_from_the_workspace() {
        assert_eq!(found(GOOD), 0);
        assert_eq!(found(&GOOD.replace("What it is for", "")), 1);
        assert_eq!(found(&GOOD.replace("license.workspace = true\n", "")), 1);
        assert_eq!(found(&GOOD.replace("[lints]\nworkspace = true\n", "")), 1);
        assert_eq!(found(&GOOD.replace("serde.workspace = true", "serde = \"1\"")), 1);
        assert_eq!(found(&GOOD.replace("\"a\"", "\"b\"")), 1);
    }
}
