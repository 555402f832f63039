//! The disks that files lie on, as control groups name them.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{major, minor};

use super::{
    btrfs,
    error::{Doing, Result, show},
};

/// The numbers, `MAJOR:MINOR`, of the disks that a path lies on: none when it lies on the network or in
/// memory. A part of a disk stands for the disk, since that is what can be limited.
pub fn below(path: &Path) -> Result<BTreeSet<String>> {
    let doing = || format!("find the disks below {}", show(path));
    devices(path)?.iter().map(|device| disk(device)).collect::<io::Result<_>>().doing(doing)
}

/// Their folders in `/sys`.
fn devices(path: &Path) -> Result<Vec<PathBuf>> {
    let doing = || format!("find the devices below {}", show(path));
    // A volume of btrfs may have several, and its files say none of them.
    if btrfs::is_btrfs(path)? {
        let folder = format!("/sys/fs/btrfs/{}/devices", btrfs::volume(path)?);
        let devices = fs::read_dir(folder).doing(doing)?;
        return devices.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().doing(doing);
    }
    let device = fs::metadata(path).doing(doing)?.dev();
    let device = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    Ok(Some(PathBuf::from(device)).filter(|device| device.exists()).into_iter().collect())
}

fn disk(device: &Path) -> io::Result<String> {
    let device = device.canonicalize()?;
    let whole = if device.join("partition").try_exists()? { device.parent() } else { None };
    let number = fs::read_to_string(whole.unwrap_or(&device).join("dev"))?;
    Ok(number.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_memory_lies_on_no_disk() {
        assert!(below(Path::new("/proc")).unwrap().is_empty());
        assert!(below(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere"));
    }

    #[test]
    fn a_disk_has_one_number() {
        let found = below(Path::new("/")).unwrap();
        assert!(found.iter().all(|number| {
            Path::new("/sys/block").is_dir()
                && fs::read_to_string(format!("/sys/dev/block/{number}/dev"))
                    .is_ok_and(|dev| dev.trim() == number)
                && !Path::new(&format!("/sys/dev/block/{number}/partition")).exists()
        }));
    }
}
