//! The control groups that LXC makes for a container, on version 1, hybrid and version 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::error::{Doing, Result, show};

const ROOT: &str = "/sys/fs/cgroup";

/// The folders of a container's groups that are there, whether anything runs in them or not.
pub fn of_container(container: &str) -> Vec<PathBuf> {
    let names = [format!("lxc.payload.{container}"), format!("lxc.monitor.{container}")];
    let mut hierarchies = vec![PathBuf::from(ROOT)];
    if let Ok(entries) = fs::read_dir(ROOT) {
        hierarchies
            .extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    hierarchies
        .iter()
        .flat_map(|hierarchy| names.iter().map(|name| hierarchy.join(name)))
        .filter(|path| path.is_dir())
        .collect()
}

/// Whether any process is in these groups or below.
pub fn populated(groups: &[PathBuf]) -> bool {
    groups.iter().any(|group| !processes(group).is_empty())
}

/// Kills what is in these groups and removes them. Fails while a process is still on its way out:
/// then it is tried again.
pub fn remove(groups: &[PathBuf]) -> Result<()> {
    for group in groups {
        for pid in processes(group) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                // Gone already is what was wanted.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
    for group in groups {
        remove_tree(group).doing(|| format!("remove the control group {}", show(group)))?;
    }
    Ok(())
}

fn processes(group: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    let mut folders = vec![group.to_owned()];
    while let Some(folder) = folders.pop() {
        // A group that vanishes meanwhile has no processes.
        if let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) {
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        if let Ok(entries) = fs::read_dir(&folder) {
            folders.extend(entries.flatten().map(|e| e.path()).filter(|path| path.is_dir()));
        }
    }
    found
}

fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
