//! Who starts and stops systems, from the same image: QVD, LXC's own tools, LXD, systemd-nspawn.

mod lxc;
mod lxd;
mod nspawn;
mod ours;

use std::{path::PathBuf, thread, time::Instant};

use anyhow::{Context as _, Result};
use tests::World;

use super::micros;

pub(super) use self::{lxc::Lxc, lxd::Lxd, nspawn::Nspawn, ours::Ours};

/// One of them. What it starts it has not started before, or has stopped.
pub(super) trait Peer {
    /// Starts so many at once, and says how long it took until the last could be used, in microseconds.
    fn start(&self, count: usize) -> Result<u64>;
    /// Stops and removes as many at once, and says how long it took until nothing was left, in
    /// microseconds; nothing where that is a part of the start.
    fn stop(&self, count: usize) -> Result<Option<u64>>;
}

/// The base of the first image that a world has.
fn base(world: &World) -> Result<PathBuf> {
    let subvolumes = world.subvolumes();
    let base = subvolumes.iter().find(|path| path.starts_with("basefs/"));
    Ok(world.storage().join(base.context("the image has no base")?))
}

/// Does something for the numbers below `count`, all at once, and says how long it took.
fn at_once(count: usize, what: impl Fn(usize) -> Result<()> + Sync) -> Result<u64> {
    let what = &what;
    let began = Instant::now();
    thread::scope(|scope| {
        let all: Vec<_> = (0..count).map(|number| scope.spawn(move || what(number))).collect();
        all.into_iter().try_for_each(|one| one.join().ok().context("a thread broke")?)
    })?;
    Ok(micros(began.elapsed()))
}
