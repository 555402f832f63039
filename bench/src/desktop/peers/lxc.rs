//! LXC's tools alone: a snapshot, a privileged container without a network.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use hkd::linux::btrfs;
use tests::World;

use super::{Peer, at_once, base};
use crate::{program, volume};

/// What shows that the system's own init has done its work.
const IS_UP: &str = "while :; do case $(systemctl is-system-running --wait 2>/dev/null) in \
     running|degraded) exit 0;; esac; done";

/// The tools, over the base that a world has.
pub(crate) struct Lxc {
    storage: PathBuf,
    /// Where LXC looks for its configurations.
    folder: PathBuf,
    base: PathBuf,
    name: String,
    /// What is run in a container to see that it can be used.
    probe: &'static str,
}

impl Lxc {
    /// Containers that can be used once a program runs in them.
    pub(crate) fn new(world: &World) -> Result<Self> {
        Self::with(world, "bare", "true")
    }

    /// Containers that can be used once their own init is done.
    pub(crate) fn until_init_is_done(world: &World) -> Result<Self> {
        Self::with(world, "init", IS_UP)
    }

    fn with(world: &World, name: &str, probe: &'static str) -> Result<Self> {
        let (storage, base) = (world.storage(), base(world)?);
        let folder = world.folder().join("lxc");
        let name = format!("{}-{name}", world.prefix());
        Ok(Self { storage, folder, base, name, probe })
    }

    fn root(&self, name: &str) -> PathBuf {
        self.storage.join("overlayfs").join(name)
    }

    fn run(&self, tool: &str, name: &str, more: &[&str]) -> Result<()> {
        let folder = self.folder.display().to_string();
        let mut arguments = vec!["-n", name, "-P", &folder];
        arguments.extend(more);
        program::run(tool, &arguments).map(drop)
    }

    fn configure(&self, name: &str) -> Result<()> {
        let folder = self.folder.join(name);
        let config = format!(
            "lxc.uts.name = bare\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\n\
             lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\n",
            self.root(name).display()
        );
        let made =
            fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("config"), config));
        made.with_context(|| format!("cannot configure {name}"))
    }
}

impl Peer for Lxc {
    fn start(&self, count: usize) -> Result<u64> {
        let name = |number| format!("{}{number}", self.name);
        (0..count).try_for_each(|number| self.configure(&name(number)))?;
        volume::settle(&self.storage)?;
        at_once(count, |number| {
            let name = name(number);
            btrfs::snapshot(&self.base, &self.root(&name))?;
            self.run("lxc-start", &name, &[])?;
            self.run("lxc-attach", &name, &["--", "sh", "-c", self.probe])
        })
    }

    fn stop(&self, count: usize) -> Result<Option<u64>> {
        let took = at_once(count, |number| {
            let name = format!("{}{number}", self.name);
            self.run("lxc-stop", &name, &["-k"])?;
            Ok(btrfs::delete(&self.root(&name))?)
        });
        took.map(Some)
    }
}
