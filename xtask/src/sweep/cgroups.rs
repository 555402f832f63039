//! Control groups of a dead run's containers.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Run;

const ROOT: &str = "/sys/fs/cgroup";

/// Every process in the groups of a run's containers.
pub(super) fn processes(run: &Run) -> Vec<i32> {
    let mut folders = of_run(run, Path::new(ROOT));
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        folders.extend(below(&folder));
    }
    found
}

/// Removes the groups of a run's containers, the innermost first.
pub(super) fn remove(run: &Run) -> Result<()> {
    for group in of_run(run, Path::new(ROOT)) {
        remove_tree(&group).with_context(|| format!("cannot remove {}", group.display()))?;
    }
    Ok(())
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for inner in below(group) {
        remove_tree(&inner)?;
    }
    fs::remove_dir(group)
}

/// The groups of a run's containers, in every hierarchy of version 1 and in that of version 2.
fn of_run(run: &Run, root: &Path) -> Vec<PathBuf> {
    let Some(prefix) = &run.prefix else { return Vec::new() };
    let mut hierarchies = below(root);
    hierarchies.push(root.to_owned());
    let mut groups: Vec<PathBuf> = hierarchies.iter().flat_map(|folder| below(folder)).collect();
    groups.retain(|group| {
        let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        ["lxc.payload.", "lxc.monitor."].iter().any(|kind| {
            let container = name.strip_prefix(kind);
            // LXC adds `-1`, `-2` … where an older group was in its way.
            container.and_then(|name| name.strip_prefix(prefix.as_str())).is_some_and(|id| {
                id.strip_prefix('-').is_some_and(|id| id.starts_with(|c: char| c.is_ascii_digit()))
            })
        })
    });
    groups
}

fn below(folder: &Path) -> Vec<PathBuf> {
    // A folder that vanished meanwhile has none.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_the_runs_containers_are_found() {
        let root = tempfile::tempdir().unwrap();
        let groups = [
            "memory/lxc.payload.t1a-3",
            "lxc.monitor.t1a-3-1",
            "pids/lxc.payload.t1ab-3",
            "pids/lxc.payload.qvd-3",
            "pids/t1a-3",
        ];
        for group in groups {
            fs::create_dir_all(root.path().join(group)).unwrap();
        }
        let run = Run { folder: "/tmp/qvd-test-1".into(), prefix: Some("t1a".into()) };
        let mut found = of_run(&run, root.path());
        found.sort();
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(root.path()).unwrap().to_str()).collect();
        assert_eq!(found, [Some("lxc.monitor.t1a-3-1"), Some("memory/lxc.payload.t1a-3")]);
    }
}
