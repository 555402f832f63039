//! LXD, with a pool on btrfs: unprivileged containers without a network.

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use tests::program::{Running, command};

use super::{Peer, at_once};
use crate::{
    image, program,
    volume::{self, Volume},
};

/// What it must know of an image.
const METADATA: &str = "architecture: x86_64\ncreation_date: 1700000000\n\
     properties: {description: the image of the tests, os: debian}\n";

/// A daemon of its own, whose pool has the image.
pub(crate) struct Lxd {
    folder: PathBuf,
    daemon: Running,
    volume: Volume,
}

impl Lxd {
    /// Starts it in a folder.
    pub(crate) fn new(folder: PathBuf) -> Result<Self> {
        let volume = Volume::new(8)?;
        fs::create_dir(&folder).context("cannot make a folder for LXD")?;
        let log = folder.join("log");
        let daemon = command("lxd")
            .args(["--group", "root", "--logfile"])
            .arg(&log)
            .env("LXD_DIR", &folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start lxd")?;
        let it = Self { folder, daemon: Running(daemon), volume };
        it.run("lxd waitready --timeout 60")?;
        let pool = it.volume.path().join("lxd");
        program::run("btrfs", &["subvolume", "create", &pool.display().to_string()])?;
        it.run(&format!("lxc storage create default btrfs source={}", pool.display()))?;
        it.run("lxc profile device add default root disk path=/ pool=default")?;
        fs::write(it.folder.join("metadata.yaml"), METADATA)?;
        let (at, archive) = (it.folder.display().to_string(), image::small()?.path);
        it.run(&format!(
            "tar -cf {at}/metadata.tar -C {at} metadata.yaml && zstd -dqc {} > {at}/root.tar && \
             lxc image import {at}/metadata.tar {at}/root.tar --alias test && rm {at}/root.tar",
            archive.display()
        ))?;
        // The first of an image makes its volume.
        it.start(1)?;
        it.stop(1)?;
        Ok(it)
    }

    /// Removes all that it has, and ends it.
    pub(crate) fn end(mut self) -> Result<()> {
        self.run("lxc image delete test && lxc profile device remove default root")?;
        self.run("lxc storage delete default && lxd shutdown")?;
        ensure!(self.daemon.0.wait()?.success(), "lxd did not end well");
        Ok(())
    }

    fn run(&self, line: &str) -> Result<()> {
        let line = format!("export LXD_DIR={} && {line}", self.folder.display());
        program::run("sh", &["-c", &line]).map(drop)
    }
}

impl Peer for Lxd {
    fn start(&self, count: usize) -> Result<u64> {
        volume::settle(&self.volume.path())?;
        at_once(count, |number| {
            self.run(&format!(
                "lxc init -q test c{number} && lxc start -q c{number} && lxc exec c{number} -- true"
            ))
        })
    }

    fn stop(&self, count: usize) -> Result<Option<u64>> {
        at_once(count, |number| self.run(&format!("lxc delete -q -f c{number}"))).map(Some)
    }
}
