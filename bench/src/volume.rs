//! A btrfs volume over a sparse file, gone when it is dropped.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{program, say};

/// A mounted volume.
#[derive(Debug)]
pub(crate) struct Volume {
    folder: tempfile::TempDir,
}

impl Volume {
    /// Makes and mounts one of so many GiB, in the folder for temporary files.
    pub(crate) fn new(gib: u64) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("qvd-bench-")
            .tempdir()
            .context("cannot make a folder for the volume")?;
        let file = folder.path().join("volume.btrfs");
        std::fs::File::create(&file)
            .and_then(|made| made.set_len(gib << 30))
            .with_context(|| format!("cannot make {}", file.display()))?;
        program::run("mkfs.btrfs", &["-q".as_ref(), file.as_os_str()])?;
        let volume = Self { folder };
        std::fs::create_dir(volume.path()).context("cannot make the mount point")?;
        let options = "loop,nosuid,nodev";
        let point = volume.path();
        program::run(
            "mount",
            &["-o".as_ref(), options.as_ref(), file.as_os_str(), point.as_os_str()],
        )?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }
}

/// Waits until a volume has freed what was deleted: what comes next is not to pay for what was before.
/// btrfs begins with that at a commit, for which it would else take its time.
pub(crate) fn settle(volume: &Path) -> Result<()> {
    let volume = volume.display().to_string();
    program::run("btrfs", &["filesystem", "sync", &volume])?;
    program::run("btrfs", &["subvolume", "sync", &volume]).map(drop)
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The loop device goes with the mount.
        if let Err(error) = program::run("umount", &[self.path()]) {
            say(format_args!("bench: {error:#}"));
        }
    }
}
