//! Mounts below a dead run's folder, in every mount namespace that can be seen.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Run;
use crate::command::Command;

/// Takes away what is mounted below a run's folder, the last mount first.
pub(super) fn detach(run: &Run) -> Result<()> {
    for (pid, mounts) in everywhere(run) {
        for mount in mounts.iter().rev() {
            let detached = Command::new("nsenter")
                .args(["--target", &pid.to_string(), "--mount", "--", "umount", "--lazy"])
                .arg(mount)
                .output();
            // It may have gone with another one, or with its namespace.
            let gone = detached.is_ok() || !of_process(run, pid).contains(mount);
            if !gone {
                detached.with_context(|| format!("cannot unmount {}", mount.display()))?;
            }
        }
    }
    Ok(())
}

/// What is still mounted there in our own namespace.
pub(super) fn left(run: &Run) -> Result<Vec<PathBuf>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(mounts(run, &mountinfo))
}

/// One process of each mount namespace that has such mounts, with these.
fn everywhere(run: &Run) -> Vec<(i32, Vec<PathBuf>)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut namespaces = BTreeMap::new();
    for entry in entries.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid else { continue };
        let Ok(namespace) = fs::read_link(format!("/proc/{pid}/ns/mnt")) else { continue };
        namespaces.entry(namespace).or_insert(pid);
    }
    namespaces
        .into_values()
        .map(|pid| (pid, of_process(run, pid)))
        .filter(|(_, mounts)| !mounts.is_empty())
        .collect()
}

fn of_process(run: &Run, pid: i32) -> Vec<PathBuf> {
    mounts(run, &fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
}

/// The mount points below a run's folder, in the order they were made.
fn mounts(run: &Run, mountinfo: &str) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(unescaped).filter(|point| point.is_absolute() && run.has(point)).collect()
}

/// A path of mountinfo: blanks, line ends and backslashes stand there as `\040` and so on.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let digits = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = digits {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(b'\\');
            rest = after;
        }
    }
    bytes.extend(rest.bytes());
    Path::new(&std::ffi::OsString::from_vec(bytes)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_below_the_folder_are_found() {
        let text = "\
29 1 254:0 / / rw - ext4 /dev/vda rw
90 29 7:1 / /tmp/qvd-test-1/disk rw,nosuid shared:9 - btrfs /dev/loop1 rw
91 90 7:1 /x /tmp/qvd-test-1/disk/a\\040b\\134c rw - btrfs /dev/loop1 rw
92 29 7:2 / /tmp/qvd-test-12/disk rw - btrfs /dev/loop2 rw
broken
";
        let run = Run { folder: "/tmp/qvd-test-1".into(), prefix: None };
        let found = mounts(&run, text);
        assert_eq!(
            found,
            [PathBuf::from("/tmp/qvd-test-1/disk"), PathBuf::from("/tmp/qvd-test-1/disk/a b\\c")]
        );
    }
}
