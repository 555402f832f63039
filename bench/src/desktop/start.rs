//! From the row that wants a desktop to the one that says its agent is ready.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};
use hkd::linux::btrfs;
use model::{VmId, vm::Seen};
use store::Store;
use tests::World;

use super::{DESK, micros, results, stop, world};
use crate::{
    program,
    results::{Results, Series},
};

/// Measures a tenth of so many starts, and as many by LXC's own tools in turns with them.
pub(crate) fn measure(samples: usize) -> Result<Results> {
    let world = world();
    let vm = VmId(world.id(DESK));
    let url = format!("sqlite:{}/db/qvd.db", world.folder().display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let bare = Bare::new(&world)?;
    let (mut ready, mut by_tools) = (Vec::new(), Vec::new());
    for _ in 0..samples.div_ceil(10) {
        stop(&world);
        settle(&world)?;
        world.qa(&format!("vm start -f name={DESK} --wait"));
        ready.push(runtime.block_on(last_start(&url, vm))?);
        settle(&world)?;
        by_tools.push(bare.start()?);
    }
    world.end();
    results(
        "start",
        "A start: wanted to agent ready",
        "The image of the tests, its base unpacked, its own init (systemd). Ours is from the time in \
         `vm_desired` to that in `vm_observed`, to the millisecond, of one clock: network, limits, home \
         and user included. The peer has neither of those, and is privileged. Before each of either \
         btrfs has freed what was deleted.",
        vec![
            Series::new("image-init", "wanted in the database to ready in the database", ready),
            Series::new("lxc", "snapshot, `lxc-start`, `lxc-attach` of `true`", by_tools),
        ],
    )
}

/// Waits until what was deleted is freed: a start is not to pay for the stop before it. btrfs begins
/// with that at a commit, for which it would else take its time.
fn settle(world: &World) -> Result<()> {
    let volume = world.storage().display().to_string();
    program::run("btrfs", &["filesystem", "sync", &volume])?;
    program::run("btrfs", &["subvolume", "sync", &volume]).map(drop)
}

/// How long the last start took, by what the api and hkd wrote.
async fn last_start(url: &str, vm: VmId) -> Result<u64> {
    let store = Store::open(url).await?;
    let wanted = store.desired(vm).await?.context("the desktop is wanted")?;
    let seen = store.observed(vm).await?;
    let seen = seen.first().filter(|row| row.seen == Seen::Running && row.run == wanted.run);
    let millis = seen.context("the desktop runs")?.seen_at.millis_since(wanted.asked_at);
    store.close().await;
    Ok(millis.unsigned_abs() * 1000)
}

/// A container on the same base, by LXC's tools alone.
struct Bare {
    name: String,
    /// Where LXC looks for its configuration.
    folder: PathBuf,
    base: PathBuf,
    root: PathBuf,
}

impl Bare {
    fn new(world: &World) -> Result<Self> {
        let name = format!("{}-bare", world.container(DESK));
        let folder = world.folder().join("bare");
        let subvolumes = world.subvolumes();
        let base = subvolumes.iter().find(|path| path.starts_with("basefs/"));
        let base = world.storage().join(base.context("the image has no base")?);
        let root = world.storage().join("overlayfs").join(&name);
        fs::create_dir_all(folder.join(&name))?;
        let config = format!(
            "lxc.uts.name = bare\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\n\
             lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\n",
            root.display()
        );
        fs::write(folder.join(&name).join("config"), config)?;
        Ok(Self { name, folder, base, root })
    }

    /// Starts it, stops it and removes it; how long the first took, in microseconds.
    fn start(&self) -> Result<u64> {
        let began = Instant::now();
        btrfs::snapshot(&self.base, &self.root)?;
        self.lxc("lxc-start", &[])?;
        self.lxc("lxc-attach", &["--", "true"])?;
        let took = micros(began.elapsed());
        self.lxc("lxc-stop", &["-k"])?;
        btrfs::delete(&self.root)?;
        Ok(took)
    }

    fn lxc(&self, tool: &str, more: &[&str]) -> Result<String> {
        let folder = self.folder.display().to_string();
        let mut arguments = vec!["-n", &self.name, "-P", &folder];
        arguments.extend(more);
        program::run(tool, &arguments)
    }
}
