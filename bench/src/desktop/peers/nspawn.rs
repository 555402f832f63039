//! systemd-nspawn: one command that snapshots, starts, runs a program, and removes.

use std::path::PathBuf;

use anyhow::Result;
use tests::World;

use super::{Peer, at_once, base};
use crate::{program, volume};

/// The command, over the base that a world has.
pub(crate) struct Nspawn {
    storage: PathBuf,
    base: String,
}

impl Nspawn {
    pub(crate) fn new(world: &World) -> Result<Self> {
        let (storage, base) = (world.storage(), base(world)?.display().to_string());
        Ok(Self { storage, base })
    }
}

impl Peer for Nspawn {
    fn start(&self, count: usize) -> Result<u64> {
        volume::settle(&self.storage)?;
        // Neither systemd nor a machine manager runs here, to which it would register.
        let alone = ["--register=no", "--keep-unit", "--quiet"];
        at_once(count, |_| {
            let arguments = [&alone[..], &["-x", "-D", &self.base, "true"]].concat();
            program::run("systemd-nspawn", &arguments).map(drop)
        })
    }

    fn stop(&self, _: usize) -> Result<Option<u64>> {
        Ok(None)
    }
}
