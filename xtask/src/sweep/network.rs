//! Links and rules of a dead run.

use std::fs;

use anyhow::Result;

use super::Run;
use crate::command::Command;

/// Families in which a node has a table.
const FAMILIES: [&str; 2] = ["bridge", "inet"];

/// Removes the links and the tables of nftables that bear the run's prefix.
pub(super) fn remove(run: &Run) -> Result<()> {
    let Some(prefix) = &run.prefix else { return Ok(()) };
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    for link in links.filter_map(|link| link.file_name().into_string().ok()) {
        if is_link(&link, prefix) {
            let removed = Command::new("ip").args(["link", "delete", &link]).output();
            // The other end of a pair goes with the first.
            if fs::exists(format!("/sys/class/net/{link}")).unwrap_or(false) {
                removed?;
            }
        }
    }
    let tables = Command::new("nft").args(["list", "tables"]).output().unwrap_or_default();
    for family in FAMILIES {
        if tables.lines().any(|line| line == format!("table {family} {prefix}")) {
            Command::new("nft").args(["delete", "table", family, prefix]).output()?;
        }
    }
    Ok(())
}

/// Whether a link is one of a VM of the run (`PREFIX-7`), or its bridge (`PREFIXbr`).
fn is_link(link: &str, prefix: &str) -> bool {
    link.strip_prefix(prefix).is_some_and(|rest| {
        let number = rest.strip_prefix('-').unwrap_or_default();
        rest == "br" || (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_of_the_run_are_taken() {
        for link in ["t1a-7", "t1a-12", "t1abr"] {
            assert!(is_link(link, "t1a"), "{link}");
        }
        for link in ["t1a", "t1a-", "t1a7", "t1ab", "t1ab-7", "qvd-7", "eth0", "xt1a-7"] {
            assert!(!is_link(link, "t1a"), "{link}");
        }
    }
}
